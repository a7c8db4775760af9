"""One HTML page of boards: the Pareto front as SVG, the table, and no external resources."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from results.boards.board import Aggregate, Board, Column
from results.tables import Table, html_table

FAITHFULNESS = ("accuracy", "agreement", "r2")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2.5rem}.wide{overflow-x:auto}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.2rem .6rem;text-align:left;"
    "white-space:nowrap;border-bottom:1px solid #ddd}.n{text-align:right}thead th{border-bottom:2px solid #555}"
    "ul{color:#555;font-size:.85rem}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}"
)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 400, 70, 55, 15, 20


class _Point(NamedTuple):
    title: str
    x: float
    y: float
    x_error: tuple[float, float]
    y_error: tuple[float, float]
    front: bool


def page(boards: Sequence[tuple[Board, Table]], *, x: str | None = None, y: str = "ms_score") -> str:
    """Return a complete HTML document of boards and their tables. All text is escaped; there is no script in it."""
    parts = []
    for board, table in boards:
        heading, _, rest = html_table(table).partition("</h2>\n")
        parts.append(f"{heading}</h2>\n{front_svg(board, x=x, y=y)}\n{rest}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # If some text ever bypassed the escaping, the page would still run and load nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Disentanglement leaderboard</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<h1>Disentanglement leaderboard</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def front_svg(board: Board, *, x: str | None = None, y: str = "ms_score") -> str:
    """Return a board's Pareto front as an SVG picture, or a sentence if it has fewer than two points.

    Whiskers are the sample standard deviation over seeds, or the 95 % interval of a pooled value.
    """
    across, up = _column(board, (x,) if x else FAITHFULNESS), _column(board, (y,))
    if across is None or up is None:
        lacking = (x or "accuracy, agreement and r2") if across is None else y
        return f"<p>No front: this board lacks {html.escape(lacking)}.</p>"
    points = _points(board, across, up)
    if not points:
        return "<p>No front: no method has both metrics.</p>"
    return _drawn(points, across, up)


def _column(board: Board, metrics: Sequence[str]) -> Column | None:
    return next(
        (column for metric in metrics for column in board.columns if metric in (column.metric, column.key)), None
    )


def _points(board: Board, across: Column, up: Column) -> list[_Point]:
    import pandas as pd

    from results.pareto import pareto_front

    rows = [row for row in board.rows if across.key in row.metrics and up.key in row.metrics]
    if not rows:
        return []
    values = [
        (across.display_value(row.metrics[across.key].mean), up.display_value(row.metrics[up.key].mean)) for row in rows
    ]
    front = pareto_front(
        pd.DataFrame(values, columns=["x", "y"]),
        "x",
        "y",
        larger_x=across.direction != "lower",
        larger_y=up.direction != "lower",
    )
    if "none" in (across.direction, up.direction):
        front[:] = False  # no direction is better, so no point dominates another
    return [
        _Point(row.title, *value, _ends(row.metrics[across.key], across), _ends(row.metrics[up.key], up), bool(on))
        for row, value, on in zip(rows, values, front, strict=True)
    ]


def _ends(aggregate: Aggregate, column: Column) -> tuple[float, float]:
    if aggregate.interval is not None:
        return column.display_value(aggregate.interval[0]), column.display_value(aggregate.interval[1])
    spread = aggregate.std or 0.0
    return column.display_value(aggregate.mean - spread), column.display_value(aggregate.mean + spread)


def _drawn(points: Sequence[_Point], across: Column, up: Column) -> str:
    x_low, x_high = _range([end for point in points for end in point.x_error])
    y_low, y_high = _range([end for point in points for end in point.y_error])

    def px(value: float) -> float:
        return _LEFT + (value - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)

    def py(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - y_low) / (y_high - y_low) * (_HEIGHT - _BOTTOM - _TOP)

    floor, left = _HEIGHT - _BOTTOM, _LEFT
    marks = [f'<path d="M{left} {_TOP}V{floor}H{_WIDTH - _RIGHT}" fill="none" stroke="#555"/>']
    for value in _ticks(x_low, x_high):
        marks.append(f'<path d="M{px(value):.1f} {floor}v5" stroke="#555"/>')
        marks.append(f'<text x="{px(value):.1f}" y="{floor + 20}" text-anchor="middle">{value:g}</text>')
    for value in _ticks(y_low, y_high):
        marks.append(f'<path d="M{left} {py(value):.1f}h-5" stroke="#555"/>')
        marks.append(f'<text x="{left - 9}" y="{py(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (_TOP + floor) / 2
    marks.append(f'<text x="{(left + _WIDTH) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{_name(across)}</text>')
    marks.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{_name(up)}</text>'
    )
    steps = sorted((point for point in points if point.front), key=lambda point: (point.x, point.y))
    if len(steps) > 1:
        line = " ".join(f"{px(point.x):.1f},{py(point.y):.1f}" for point in steps)
        marks.append(f'<polyline points="{line}" fill="none" stroke="#0b6" stroke-dasharray="5 4"/>')
    used: list[tuple[float, float]] = []
    for point in points:
        colour = "#0b6e4f" if point.front else "#888"
        x, y = px(point.x), py(point.y)
        title = f"{point.title}: {_name(across)} {point.x:g}, {_name(up)} {point.y:g}"
        marks.append(f'<g stroke="{colour}" fill="{colour}"><title>{html.escape(title)}</title>')
        marks.append(f'<path d="M{px(point.x_error[0]):.1f} {y:.1f}H{px(point.x_error[1]):.1f}"/>')
        marks.append(f'<path d="M{x:.1f} {py(point.y_error[0]):.1f}V{py(point.y_error[1]):.1f}"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/></g>')
        # Labels of neighbours are moved down until they do not overlap.
        right = x < _WIDTH * 0.7
        level = y - 8
        while any(abs(level - other) < 14 and abs(x - beside) < 150 for beside, other in used):
            level += 14
        used.append((x, level))
        anchor, shift = ("start", 8) if right else ("end", -8)
        marks.append(
            f'<text x="{x + shift:.1f}" y="{level:.1f}" text-anchor="{anchor}" fill="{colour}">'
            f"{html.escape(point.title)}</text>"
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="Pareto front of {html.escape(across.metric)} and {html.escape(up.metric)}">'
        + "".join(marks)
        + f"</svg>\n<p>{_legend(across, up)} Whiskers: standard deviation over seeds, or a 95 % interval.</p>"
    )


def _legend(across: Column, up: Column) -> str:
    for column in (across, up):
        if column.direction == "none":
            return f"No front: neither more nor less {html.escape(column.key)} is better."
    return "Green: on the Pareto front."


def _name(column: Column) -> str:
    unit = " (%)" if column.unit == "fraction" else f" ({column.unit})" if column.unit else ""
    return html.escape(f"{column.key}{unit}")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * max(abs(high), 1.0)
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(size * scale for size in (1, 2, 5, 10) if size * scale >= raw)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]
