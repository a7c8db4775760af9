"""Figure of the frontiers: the settings of each method as a curve, such as R2 over L0, with the area below it.

Curves, areas and limits are those of `harness frontier` (`results/comparison/frontier.py`), colours and symbols those
of the app. Settings of controls and virtual methods are hollow and grey.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from results.boards.board import Column
from results.boards.lead_columns import unit_text
from results.boards.scales import AxisRange, log_ticks, room
from results.boards.trials import marked
from results.comparison.frontier import BoardFrontier, Curve, X, Y, frontiers
from results.errors import StoreError
from results.export.figures import page
from results.export.figures.symbols import marker
from results.export.front_points import axis_name, whisker
from results.pictures.theme import GREY, Mark, marks
from results.visible_text import bounded, names_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from results.store import Store

#: Lengths in points: the figure, the margins of the plot, the sizes of texts.
_WIDTH, _PLOT_HEIGHT = 432.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 8.0, 38.0
_TICK_SIZE, _TITLE_SIZE, _NAME_SIZE, _CAPTION_SIZE = 7.5, 8.5, 7.5, 6.5
_MARK_SIZE = 5.0
#: Most lines of the legend.
_MOST_NAMES = 16


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the figure.

    Attributes:
        x: metric of the cost; None: l0.
        y: metric of the value; None: r2.
        limits: costs between which areas are compared; None: the range that all methods with a curve share.
        backbone, site, suite: of the board's cells; None: all. One board must be left.
        caption: write what the figure shows below it.
    """

    x: str | None = None
    y: str | None = None
    limits: tuple[float, float] | None = None
    backbone: str | None = None
    site: str | None = None
    suite: str | None = None
    caption: bool = True


def draw(store: Store, options: Options, dpi: int) -> page.Drawing:
    """Return the figure.

    Raises:
        StoreError: no board or several match, the board lacks a metric, or no row has both.
    """
    frontier = _one(
        frontiers(
            store,
            x=options.x or X,
            y=options.y or Y,
            limits=options.limits,
            backbone=options.backbone,
            site=options.site,
            suite=options.suite,
        )
    )
    methods = [curve.method for curve in frontier.curves]
    families = {curve.method: curve.points[0].row.family for curve in frontier.curves}
    styles = marks(methods, families)
    named = frontier.curves[:_MOST_NAMES]
    caption = _caption(frontier, frontier.curves[_MOST_NAMES:])
    lines = page.wrapped(caption, _CAPTION_SIZE, _WIDTH - 16) if options.caption else []
    step = page.LEADING * _NAME_SIZE
    top = _TOP + _PLOT_HEIGHT + _BOTTOM
    height = top + step * len(named) + (page.LEADING * _CAPTION_SIZE * len(lines) + 10 if lines else 4)
    figure = page.new_figure(_WIDTH, height)
    width = _WIDTH - _LEFT - _RIGHT
    axes = figure.add_axes((_LEFT / _WIDTH, 1 - (_TOP + _PLOT_HEIGHT) / height, width / _WIDTH, _PLOT_HEIGHT / height))
    _draw_axes(axes, frontier)
    for curve in frontier.curves:
        _draw_curve(axes, curve, frontier, styles[curve.method])
    whole = page.whole_page(figure)
    for number, curve in enumerate(named):
        _draw_name(whole, curve, frontier.y, styles[curve.method], top + step * (number + 0.5))
    page.write_lines(whole, 8, top + step * len(named) + 4, lines, _CAPTION_SIZE)
    title = f"{axis_name(frontier.y)} over {axis_name(frontier.x)}"
    return page.Drawing(figure, title, caption)


def _one(of_boards: Sequence[BoardFrontier]) -> BoardFrontier:
    """Return the only board with a row that has both metrics."""
    drawn = [frontier for frontier in of_boards if frontier.curves]
    if not drawn:
        raise StoreError("There is no frontier to draw: no finished cell that matches has both metrics.")
    if len(drawn) > 1:
        titles = names_text(
            dict.fromkeys(f"{frontier.board.backbone} at {frontier.board.site}" for frontier in drawn), most=6
        )
        raise StoreError(
            f"A frontier is that of one board, and {len(drawn)} match ({titles}): choose one by backbone, site or "
            "suite."
        )
    return drawn[0]


def _factor(column: Column) -> float:
    return 100.0 if column.unit == "fraction" else 1.0


def _is_hollow(curve: Curve) -> bool:
    return curve.group != "method"


def _draw_axes(axes: Axes, frontier: BoardFrontier) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    points = [point for curve in frontier.curves for point in curve.points]
    costs = [math.log10(point.x) for point in points]
    low, high = room(costs, 0.05)
    span = AxisRange(10.0 ** max(low, -300), 10.0 ** min(high, 300), True)
    ends = [end for point in points for end in whisker(point.row, frontier.y)]
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_autoscale_on(False)
    axes.set_xscale("log")
    bottom, top = room(ends, 0.07)
    ticks = [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(bottom, top)]
    axes.set(xlim=(span.low, span.high), ylim=(bottom, top))
    axes.xaxis.set_major_locator(FixedLocator(_thinned(log_ticks(span))))
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if bottom <= tick <= top]))
    titles = [
        page.shortened(bounded(axis_name(column), 90), _TITLE_SIZE, length)
        for column, length in ((frontier.x, _WIDTH - _LEFT), (frontier.y, _PLOT_HEIGHT))
    ]
    axes.set_xlabel(titles[0], fontsize=_TITLE_SIZE, parse_math=False)
    axes.set_ylabel(titles[1], fontsize=_TITLE_SIZE, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value + 0.0:g}".replace("-", "\N{MINUS SIGN}")))
        axis.set_tick_params(labelsize=_TICK_SIZE, color=GREY, width=0.6, length=3)
    axes.grid(color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    for limit in frontier.limits or ():
        axes.axvline(limit, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)


def _thinned(ticks: Sequence[float]) -> list[float]:
    """Return at most twelve of the ticks."""
    return list(ticks[:: max(1, math.ceil(len(ticks) / 12))])


def _draw_curve(axes: Axes, curve: Curve, frontier: BoardFrontier, style: Mark) -> None:
    colour = GREY if _is_hollow(curve) else style.colour
    factor = _factor(frontier.y)
    if curve.envelope is not None:
        # A straight line over log x is straight on this axis.
        axes.plot(curve.envelope.x, factor * np.asarray(curve.envelope.y), color=colour, linewidth=1.2, zorder=2)
    for point in curve.points:
        low, high = whisker(point.row, frontier.y)
        axes.plot((point.x, point.x), (low, high), color=colour, linewidth=0.9, solid_capstyle="butt", zorder=2.5)
    axes.plot(
        [point.x for point in curve.points],
        [factor * point.y for point in curve.points],
        linestyle="",
        marker=marker(style.symbol),
        markersize=_MARK_SIZE,
        markerfacecolor="white" if _is_hollow(curve) else colour,
        markeredgecolor=colour,
        zorder=3,
        clip_on=False,
    )


def _draw_name(axes: Axes, curve: Curve, y: Column, style: Mark, level: float) -> None:
    """Write a line of the legend: the symbol, the name, and the area with its interval."""
    colour = GREY if _is_hollow(curve) else style.colour
    face = "white" if _is_hollow(curve) else colour
    axes.plot(
        _LEFT,
        level,
        linestyle="",
        marker=marker(style.symbol),
        markersize=_MARK_SIZE,
        markerfacecolor=face,
        markeredgecolor=colour,
    )
    text = page.shortened(f"{bounded(curve.title, 80)}: {_area_text(curve, y)}", _NAME_SIZE, _WIDTH - _LEFT - 20)
    page.write(axes, _LEFT + 8, level, text, _NAME_SIZE, va="center")


def _area_text(curve: Curve, y: Column) -> str:
    if curve.area is None:
        return curve.reason
    unit = f" {unit_text(y)}" if unit_text(y) else ""
    interval = "" if curve.interval is None else f" [{', '.join(map(y.text, curve.interval))}]"
    return f"area {y.text(curve.area)}{interval}{unit}"


def _caption(frontier: BoardFrontier, nameless: Sequence[Curve]) -> str:
    """Return what the figure shows, in sentences."""
    board = frontier.board
    x, y = (bounded(axis_name(column), 90) for column in (frontier.x, frontier.y))
    sentences = [
        f"{marked(bounded(board.title, 200), board)}.",
        f"Each mark is one setting of a method. Lines: the best {y} for each {x}, straight between settings.",
    ]
    if frontier.limits is not None:
        low, high = frontier.limits
        what = "as given" if frontier.is_given else "the range that all methods with a curve share"
        sentences.append(
            f"Area: mean height of the line from {low:.4g} to {high:.4g} (dotted; {what}), with its 95 % interval."
        )
    groups: Mapping[str, str] = {"control": "controls", "virtual": "virtual methods"}
    hollow = [word for group, word in groups.items() if any(curve.group == group for curve in frontier.curves)]
    if hollow:
        sentences.append(f"Hollow: {' and '.join(hollow)}.")
    errors = (whisker(point.row, frontier.y) for curve in frontier.curves for point in curve.points)
    if any(low < high for low, high in errors):
        sentences.append("Whiskers: 95 % intervals; a row with one seed has none.")
    if nameless:
        sentences.append(f"Without a name: {names_text(curve.title for curve in nameless)}.")
    return " ".join(sentences)
