"""Figure of the robustness: accuracy of probes over the levels of each disturbance, on codes and on the layer.

One panel per corruption, one for wrong labels, one for few images. The numbers are those of `harness robustness`
(`results/comparison/robustness.py`), colours and symbols those of the app.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import LARGEST
from results.comparison.robustness import Robustness, robustness
from results.errors import StoreError
from results.export.figures import page
from results.export.figures.symbols import marker
from results.pictures.theme import GREY, marks
from results.visible_text import bounded, names_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from results.store import Store

#: Lengths in points: the figure, its panels, and the sizes of texts.
_WIDTH, _PANEL_HEIGHT, _GAP = 504.0, 104.0, 34.0
_LEFT, _RIGHT, _TOP = 34.0, 8.0, 18.0
_COLUMNS = 4
_TICK_SIZE, _TITLE_SIZE, _NAME_SIZE, _CAPTION_SIZE = 6.5, 7.5, 7.0, 6.5
_MARK_SIZE = 3.5
#: Most methods and most panels.
_MOST_NAMES, _MOST_PANELS = 12, 12
_LAYER_NAME = "the layer"
#: Colours of the methods in their order, those of Okabe and Ito: curves that cross need one for each, whatever the
#: family.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class _Style(NamedTuple):
    """Curve of one cell."""

    colour: str
    symbol: str
    is_hollow: bool

    @property
    def face(self) -> str:
        return "white" if self.is_hollow else self.colour


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the figure.

    Attributes:
        backbone, site, suite: of the cells; None: all. One layer with one image set must be left.
        caption: write what the figure shows below it.
    """

    backbone: str | None = None
    site: str | None = None
    suite: str | None = None
    caption: bool = True


class _Panel(NamedTuple):
    """One disturbance."""

    title: str
    axis: str
    level: str
    """key of the level in a point"""
    rows: list[tuple[Robustness, list[dict[str, Any]]]]
    """cells with their points, the undisturbed one first"""


def draw(store: Store, options: Options, dpi: int) -> page.Drawing:
    """Return the figure.

    Raises:
        StoreError: no cell or several layers match.
    """
    rows = _chosen(store, options)
    panels = _panels(rows)[:_MOST_PANELS]
    if not panels:
        raise StoreError("There is no curve to draw: the cells that match have no levels in their details.")
    # The backbone alone is the layer, whose line is drawn already.
    cells = {row.cell_id: row for row in rows if row.method != "identity"}
    named = list(cells)[:_MOST_NAMES]
    names = _names([cells[cell_id] for cell_id in named])
    families = {cells[cell_id].method: "" for cell_id in named}
    of_method = marks(list(families), dict.fromkeys(families, "control"))
    styles = {
        cell_id: _Style(
            _COLOURS[number % len(_COLOURS)], of_method[cells[cell_id].method].symbol, cells[cell_id].is_control
        )
        for number, cell_id in enumerate(named)
    }
    caption = _caption(rows, [cells[cell_id].label for cell_id in list(cells)[_MOST_NAMES:]])
    lines = page.wrapped(caption, _CAPTION_SIZE, _WIDTH - 16) if options.caption else []
    n_lines = math.ceil(len(panels) / _COLUMNS)
    bottom = _TOP + n_lines * (_PANEL_HEIGHT + _GAP)
    step = page.LEADING * _NAME_SIZE
    n_names = math.ceil((len(named) + 1) / 2)
    height = bottom + step * n_names + (page.LEADING * _CAPTION_SIZE * len(lines) + 12 if lines else 6)
    figure = page.new_figure(_WIDTH, height)
    width = (_WIDTH - _LEFT - _RIGHT - (_COLUMNS - 1) * 14) / _COLUMNS
    limits = _limits(panels)
    for number, panel in enumerate(panels):
        line, column = divmod(number, _COLUMNS)
        left, top = _LEFT + column * (width + 14), _TOP + line * (_PANEL_HEIGHT + _GAP)
        area = (left / _WIDTH, 1 - (top + _PANEL_HEIGHT) / height, width / _WIDTH, _PANEL_HEIGHT / height)
        _draw_panel(figure.add_axes(area), panel, styles, limits, is_first=column == 0, width=width)
    whole = page.whole_page(figure)
    for number, (name, style) in enumerate([(_LAYER_NAME, None), *zip(names, styles.values(), strict=True)]):
        column, line = divmod(number, n_names)
        _draw_name(whole, name, style, 8 + column * _WIDTH / 2, bottom + step * (line + 0.5))
    page.write_lines(whole, 8, bottom + step * n_names + 6, lines, _CAPTION_SIZE)
    return page.Drawing(figure, "Accuracy of probes under disturbances", caption)


def _chosen(store: Store, options: Options) -> list[Robustness]:
    """Return the rows of the only layer that matches."""
    cells = store.cells(backbone=options.backbone, site=options.site, suite=options.suite)
    wanted = set(cells["cell_id"])
    rows = [row for row in robustness(store) if row.cell_id in wanted and row.curve]
    if not rows:
        raise StoreError(
            "There is no robustness to draw: no finished cell that matches has a curve; run the suite robustness."
        )
    layers = dict.fromkeys(row.layer_and_images for row in rows)
    if len(layers) > 1:
        titles = names_text((f"{backbone} at {site}, {dataset}" for backbone, site, dataset, _ in layers), most=6)
        raise StoreError(
            f"The figure is that of one layer and split of images, and {len(layers)} match ({titles}): choose one by "
            "backbone, site or suite."
        )
    return rows


def _panels(rows: Sequence[Robustness]) -> list[_Panel]:
    panels: dict[tuple[str, str], _Panel] = {}
    for row in rows:
        clean = [point for point in row.curve if point.get("clean")][:1]
        for point in row.curve:
            if point.get("clean"):
                continue
            keys = ("severity", "share", "shots")
            key = next((name for name in keys if math.isfinite(_number(point.get(name)))), None)
            if key is None:
                continue
            title = str(point.get("corruption", "corruption")).replace("_", " ") if key == "severity" else row.kind
            axis = {"severity": "severity", "share": "wrong labels (%)", "shots": "images per class"}[key]
            panel = panels.setdefault((row.metric, title), _Panel(title, axis, key, []))
            if not panel.rows or panel.rows[-1][0] is not row:
                panel.rows.append((row, list(clean)))
            panel.rows[-1][1].append(point)
    for panel in panels.values():
        for _, points in panel.rows:
            points.sort(key=lambda point: _level(point, panel.level))
    return list(panels.values())


def _names(rows: Sequence[Robustness]) -> list[str]:
    """Return the labels, with the token seed if a label occurs twice."""
    labels = [row.label for row in rows]
    return [row.label if labels.count(row.label) == 1 else f"{row.label}, token seed {row.token_seed}" for row in rows]


def _half_width(point: Mapping[str, Any]) -> float:
    error = _number(point.get("error"))
    return 196.0 * error if error >= 0 else 0.0


def _limits(panels: Sequence[_Panel]) -> tuple[float, float]:
    """Return the ends of the vertical axis, in percent, which all panels share."""
    values = [
        end
        for panel in panels
        for _, points in panel.rows
        for point in points
        for end in (
            100 * point["codes"] - _half_width(point), 100 * point["codes"] + _half_width(point), 100 * point["layer"],
        )
    ]  # fmt: skip
    return max(0.0, min(values) - 3), min(103.0, max(values) + 3)


def _draw_panel(
    axes: Axes,
    panel: _Panel,
    styles: Mapping[str, _Style],
    limits: tuple[float, float],
    *,
    is_first: bool,
    width: float,
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    ticks = _ticks(panel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set(xlim=(-0.5, len(ticks) - 0.5), ylim=limits)
    axes.set_autoscale_on(False)
    levels = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(*limits)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in levels if limits[0] <= tick <= limits[1]]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if is_first else ""))
    axes.set_xticks(range(len(ticks)), list(ticks.values()))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_tick_params(labelsize=_TICK_SIZE, color=GREY, width=0.6, length=2)
    axes.grid(color="#e6e6e6", linewidth=0.5, axis="y")
    axes.set_axisbelow(True)
    axes.set_title(
        page.shortened(bounded(panel.title, 60), _TITLE_SIZE, width), fontsize=_TITLE_SIZE, parse_math=False, pad=3
    )
    axes.set_xlabel(panel.axis, fontsize=_TICK_SIZE, labelpad=1)
    if is_first:
        axes.set_ylabel("accuracy (%)", fontsize=_TICK_SIZE, labelpad=1)
    drawn = [(row, points) for row, points in panel.rows if row.cell_id in styles]
    majority = next((row.majority for row, _ in drawn if math.isfinite(row.majority)), None)
    if majority is not None:
        axes.axhline(100 * majority, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1.5)
    positions = list(ticks)
    for number, (row, points) in enumerate(drawn):
        style = styles[row.cell_id]
        # Beside one another: whiskers at the same level would hide each other.
        offset = 0.5 * ((number + 0.5) / len(drawn) - 0.5)
        x = [positions.index(_level(point, panel.level)) + offset for point in points]
        y = [100 * point["codes"] for point in points]
        for at, value, point in zip(x, y, points, strict=True):
            half = _half_width(point)
            axes.plot((at, at), (value - half, value + half), color=style.colour, linewidth=0.6, zorder=2)
        axes.plot(
            x,
            y,
            color=style.colour,
            linewidth=0.8,
            marker=marker(style.symbol),
            markersize=_MARK_SIZE,
            markerfacecolor=style.face,
            markeredgecolor=style.colour,
            markeredgewidth=0.6,
            zorder=2.5,
        )
    if drawn:
        points = drawn[0][1]
        x = [positions.index(_level(point, panel.level)) for point in points]
        axes.plot(x, [100 * point["layer"] for point in points], color=page.INK, linewidth=1.4, zorder=3)


def _ticks(panel: _Panel) -> dict[float, str]:
    """Return level -> its tick, in the order of the axis."""
    levels = {_level(point, panel.level): _tick(point, panel.level) for _, points in panel.rows for point in points}
    return dict(sorted(levels.items()))


def _level(point: Mapping[str, Any], key: str) -> float:
    """Return the number by which levels are sorted: all images come after some."""
    if point.get("clean"):
        return math.inf if key == "shots" else 0.0
    value = _number(point.get(key))
    return value if math.isfinite(value) else 0.0


def _tick(point: Mapping[str, Any], key: str) -> str:
    if point.get("clean"):
        return "all" if key == "shots" else "0"
    return f"{_level(point, key):g}"


def _draw_name(axes: Axes, name: str, style: _Style | None, x: float, level: float) -> None:
    """Write a line of the legend; without a style, that of the layer."""
    if style is None:
        axes.plot((x, x + 12), (level, level), color=page.INK, linewidth=1.4)
    else:
        axes.plot((x, x + 12), (level, level), color=style.colour, linewidth=0.8)
        axes.plot(
            x + 6,
            level,
            linestyle="",
            marker=marker(style.symbol),
            markersize=_MARK_SIZE + 1,
            markerfacecolor=style.face,
            markeredgecolor=style.colour,
        )
    text = page.shortened(bounded(name, 80), _NAME_SIZE, _WIDTH / 2 - 32)
    page.write(axes, x + 17, level, text, _NAME_SIZE, va="center")


def _caption(rows: Sequence[Robustness], nameless: Sequence[str]) -> str:
    """Return what the figure shows, in sentences."""
    first = rows[0]
    sentences = [
        f"{bounded(first.backbone, 90)} at {bounded(first.site, 90)}, {bounded(first.dataset, 90)}.",
        "Accuracy of probes of the class on the codes of each method, and on the neurons of the layer (thick line).",
        "Whiskers: codes plus and minus 1.96 standard errors of the difference to the layer, paired over the same "
        f"images (n = {max(row.gain.n for row in rows)}) and draws; they do not cover the thick line where the "
        "difference is larger.",
        "Dotted: the most frequent class. Hollow: controls.",
    ]
    if nameless:
        sentences.append(f"Not drawn: {names_text(nameless)}.")
    return " ".join(sentences)


def _number(value: Any) -> float:
    """Return a number as float; NaN for anything else, and for numbers that only a damaged store has."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if is_number else math.nan
