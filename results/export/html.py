"""One HTML page of boards: the Pareto front as SVG, the table, and no external resources."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results.boards.board import Board, Column
from results.export.front_points import FrontPoint, axes_of, axis_name, front_points, is_candidate
from results.tables import Table, html_escaped, html_table
from results.visible_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2.5rem}.wide{overflow-x:auto}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.2rem .6rem;text-align:left;"
    "white-space:nowrap;border-bottom:1px solid #ddd}.n{text-align:right}thead th{border-bottom:2px solid #555}"
    "ul{color:#555;font-size:.85rem}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}"
)
#: Size of the picture in px.
_WIDTH, _HEIGHT = 640, 400


_FRONT, _BESIDE = "#0b6e4f", "#888888"


def _colour(point: FrontPoint) -> str:
    return _FRONT if point.front else _BESIDE


def _shape(point: FrontPoint) -> str:
    """Return the marker: a square for a control, a diamond for a virtual method, a circle for other methods."""
    return {"control": "s", "virtual": "D"}.get(point.row.group, "o")


def page(boards: Sequence[tuple[Board, Table]], *, x: str | None = None, y: str | None = None) -> str:
    """Return a complete HTML document of boards and their tables. All text is escaped; there is no script in it."""
    parts = []
    for board, table in boards:
        heading, _, rest = html_table(table).partition("</h2>\n")
        headline = "".join(f"<p>{html_escaped(sentence)}</p>\n" for sentence in board.headline)
        parts.append(f"{heading}</h2>\n{headline}{front_svg(board, x=x, y=y)}\n{rest}")
    return document("Disentanglement leaderboard", parts)


def document(title: str, parts: Sequence[str]) -> str:
    """Return a complete HTML document of parts that are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # If some text ever bypassed the escaping, the page would still run and load nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{html_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html_escaped(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def front_svg(board: Board, *, x: str | None = None, y: str | None = None) -> str:
    """Return a board's Pareto front as an SVG picture, or a sentence if it has fewer than two points.

    Flagged rows, controls and virtual methods are drawn hollow and grey (`front_points`).
    """
    across, up, lacking = axes_of(board, x, y)
    if across is None or up is None:
        return f"<p>No front: this board lacks {html_escaped(lacking)}.</p>"
    points = front_points(board, across, up)
    if not points:
        return "<p>No front: no method has both metrics.</p>"
    return _drawn(points, across, up)


def _drawn(points: Sequence[FrontPoint], across: Column, up: Column) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = [axis_name(column) for column in (across, up)]
    buffer = io.StringIO()
    # Text stays text, and ids are hashes with a fixed salt: the same board gives the same page.
    style = {"svg.fonttype": "none", "svg.hashsalt": "harness", "font.sans-serif": ["DejaVu Sans"], "font.size": 12}
    with rc_context(style), warnings.catch_warnings():
        # The browser has the glyphs that the font used for the layout lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72, layout="tight")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.08)
        # Names come from the store: a dollar sign in them is not mathematics.
        axes.set_xlabel(names[0], parse_math=False)
        axes.set_ylabel(names[1], parse_math=False)
        front = sorted((point.x, point.y) for point in points if point.front)
        if len(front) > 1:
            axes.plot(*zip(*front, strict=True), color="#0b6", linestyle="--", linewidth=1)
        for number, point in enumerate(points):
            colour = _colour(point)
            axes.plot(point.x_error, (point.y, point.y), color=colour, linewidth=1)
            axes.plot((point.x, point.x), point.y_error, color=colour, linewidth=1)
            fill = colour if is_candidate(point.row) else "white"
            (mark,) = axes.plot(point.x, point.y, color=colour, linestyle="", marker=_shape(point), markersize=7)
            mark.set(markerfacecolor=fill, gid=f"point{number}")
        figure.draw_without_rendering()
        _label(axes, points)
        figure.savefig(buffer, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    svg = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    for number, point in enumerate(points):
        title = f"{point.row.title_with_flags}: {names[0]} {point.x:g}, {names[1]} {point.y:g}"
        svg = svg.replace(f'<g id="point{number}">', f"<g><title>{html_escaped(title)}</title>")
    # Pictures on one page must not share ids, or style each other. Ids of clip paths are hashes of their content.
    svg = re.sub(r'<g id="[\w.]+">', "<g>", re.sub(r"<style.*?</style>", "", svg))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="Pareto front of {html_escaped(names[0])} and {html_escaped(names[1])}">{svg}'
        f"<p>{_legend(points, across, up)} Whiskers: 95 % intervals, from the spread over seeds and the units and "
        "images within a cell, as far as they are known.</p>"
    )


def _label(axes: Axes, points: Sequence[FrontPoint]) -> None:
    """Write the name beside each point; labels of neighbours are moved down until they do not overlap."""
    used: list[tuple[float, float]] = []
    for point in points:
        x, y = axes.transData.transform((point.x, point.y))
        is_left = axes.transAxes.inverted().transform((x, y))[0] < 0.7
        level = y + 8
        while any(abs(level - other_level) < 14 and abs(x - other_x) < 150 for other_x, other_level in used):
            level -= 14
        used.append((x, level))
        axes.annotate(
            one_line(point.row.title_with_flags),
            (point.x, point.y),
            xytext=(8 if is_left else -8, level - y),
            textcoords="offset points",
            ha="left" if is_left else "right",
            color=_colour(point),
            parse_math=False,
            # Labels may be long: they do not shrink the axes.
            in_layout=False,
        )


def _legend(points: Sequence[FrontPoint], across: Column, up: Column) -> str:
    for column in (across, up):
        if column.direction == "none":
            return f"No front: neither more nor less {html_escaped(column.key)} is better."
    outside = [
        ("circles are flagged (see below the table)", any(p.row.group == "method" and p.row.flags for p in points)),
        ("squares are controls", any(p.row.group == "control" for p in points)),
        ("diamonds are virtual methods", any(p.row.group == "virtual" for p in points)),
    ]
    present = ", ".join(text for text, is_present in outside if is_present)
    is_empty = not any(point.front for point in points)
    sentence = "No front: no method here is without a flag." if is_empty else "Green: on the Pareto front."
    return f"{sentence} Hollow marks are no part of the front: {present}." if present else sentence
