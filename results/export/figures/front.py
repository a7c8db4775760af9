"""Figure of the front: faithfulness against interpretability of all rows of a board, as Figure 2 of the ELUDe paper.

Rows, flags, intervals and the front are those of the HTML page (`results/export/front_points.py`), colours and symbols
those of the app. Flagged rows and virtual methods are hollow and grey, controls are lines at their vertical value.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from results.boards.board import Board, Column, Row, require_metrics
from results.boards.scales import AxisRange, MarkSizes, axis_range, log_ticks, mark_sizes
from results.boards.trials import marked
from results.errors import StoreError
from results.export.figures import page
from results.export.figures.symbols import marker
from results.export.front_points import FrontPoint, axes_of, axis_name, front_points, is_candidate
from results.minus_sign import with_minus
from results.pictures.labels import Frame, Named, Offset, Span, label_offsets
from results.pictures.theme import GREY, marks
from results.visible_text import bounded, names_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from results.store import Store

#: Lengths in points: the figure, the margins of the plot, the sizes of texts.
_WIDTH, _PLOT_HEIGHT = 432.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 8.0, 40.0
_NAME_SIZE, _TICK_SIZE, _TITLE_SIZE, _CAPTION_SIZE = 7.5, 7.5, 8.5, 6.5
#: Points per pixel of the placement of names, whose lines are 14 px high, and of the marks' sizes.
_PX = page.LEADING * _NAME_SIZE / 14.0
_LONGEST_NAME = 44
#: Horizontal positions of the names of controls, as shares of the plot: neighbours have different ones.
_CONTROL_NAMES_AT = (0.02, 0.35, 0.65)
_RULE_PX = 0.5
_ARROWS = {"higher": ("→ better", "↑ better"), "lower": ("← better", "↓ better"), "none": ("", "")}
_FRONT_COLOUR = "#555555"
#: Rows that are no candidates widen an axis by so many times the span of the candidates at most.
_FAR = 3.0
#: Distance of the mark of a row outside of the plot from its edge, as a share of the plot.
_EDGE = 0.025


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the figure.

    Attributes:
        x: metric of the horizontal axis; None: the first of r2, agreement and accuracy that the board has.
        y: metric of the vertical axis; None: ms_score_token_adjusted, or ms_score.
        backbone, site, suite: of the board's cells; None: all. One board must be left.
        caption: write what the figure shows below it.
    """

    x: str | None = None
    y: str | None = None
    backbone: str | None = None
    site: str | None = None
    suite: str | None = None
    caption: bool = True


class _Plane(NamedTuple):
    """Metrics and ranges of the plot."""

    across: Column
    up: Column
    x: AxisRange
    y: AxisRange
    size: Column | None
    sizes: MarkSizes

    def position(self, point: FrontPoint) -> tuple[float, float]:
        """Return the place of a row's mark: near the edge of the plot for one that is outside of it."""
        return _near_edge(point.x, self.x), _near_edge(point.y, self.y)

    def diameter(self, row: Row) -> float:
        """Return the diameter of a row's mark in pixels."""
        aggregate = None if self.size is None else row.metrics.get(self.size.key)
        return self.sizes.diameter(None if aggregate is None or self.size is None else aggregate.mean)


def draw(store: Store, options: Options, dpi: int) -> page.Drawing:
    """Return the figure.

    Raises:
        StoreError: no board or several match, the board lacks a metric, or no row has both.
    """
    from results.comparison.leaderboard import leaderboard

    boards = leaderboard(store, backbone=options.backbone, site=options.site, suite=options.suite)
    board, across, up, points = _one(boards, options.x, options.y)
    plane = _plane(board, points, across, up)
    width = _WIDTH - _LEFT - _RIGHT
    names = _names(points, plane, Frame((width / _PX,), _PLOT_HEIGHT / _PX))
    caption = _caption(board, points, plane, [name.text for name in names if name.offset is None])
    lines = page.wrapped(caption, _CAPTION_SIZE, _WIDTH - 16) if options.caption else []
    height = _TOP + _PLOT_HEIGHT + _BOTTOM + (page.LEADING * _CAPTION_SIZE * len(lines) + 6 if lines else 0)
    figure = page.new_figure(_WIDTH, height)
    axes = figure.add_axes((_LEFT / _WIDTH, 1 - (_TOP + _PLOT_HEIGHT) / height, width / _WIDTH, _PLOT_HEIGHT / height))
    _draw_axes(axes, plane)
    _draw_points(axes, points, plane)
    _draw_names(axes, names)
    page.write_lines(page.whole_page(figure), 8, _TOP + _PLOT_HEIGHT + _BOTTOM, lines, _CAPTION_SIZE)
    return page.Drawing(figure, f"Pareto front of {axis_name(across)} and {axis_name(up)}", caption)


def _one(boards: Sequence[Board], x: str | None, y: str | None) -> tuple[Board, Column, Column, list[FrontPoint]]:
    """Return the only board with rows that have both metrics, its columns of the axes and its points."""
    if not boards:
        raise StoreError("There is no board to draw: no finished cell matches.")
    require_metrics(boards, [name for name in (x, y) if name])
    fronts = []
    reasons = []
    for board in boards:
        across, up, lacking = axes_of(board, x, y)
        if across is None or up is None:
            reasons.append(f"{board.layer_title} lacks {lacking}")
        elif points := front_points(board, across, up):
            fronts.append((board, across, up, points))
        else:
            reasons.append(f"no row of {board.layer_title} has both {across.key} and {up.key}")
    if not fronts:
        raise StoreError(f"There is no front: {'; '.join(reasons[:3])}. Choose other metrics as x and y.")
    if len(fronts) > 1:
        titles = names_text(dict.fromkeys(f"{board.backbone} at {board.site}" for board, *_ in fronts), most=6)
        raise StoreError(
            f"A front is that of one board, and {len(fronts)} match ({titles}): choose one by backbone, site or suite."
        )
    return fronts[0]


def _plane(board: Board, points: Sequence[FrontPoint], across: Column, up: Column) -> _Plane:
    """Return the ranges that hold all marks and their intervals, and the sizes of the marks."""
    with_mark = [point for point in points if point.row.group != "control"]
    # A control has no horizontal position, so it does not widen the axis. More horizontal room, for names.
    x_ends = _ends(with_mark or points, lambda point: (point.x, *point.x_error))
    y_ends = _ends(with_mark, lambda point: (point.y, *point.y_error))
    y_ends += [point.y for point in points if point.row.group == "control"]
    size = next(iter(board.columns_called(["expansion_factor"])), None)
    values = [point.row.metrics[size.key].mean for point in with_mark if size and size.key in point.row.metrics]
    ranges = axis_range(across, x_ends, 0.09), axis_range(up, y_ends, 0.07)
    return _Plane(across, up, *ranges, size, mark_sizes(size, values))


def _ends(points: Sequence[FrontPoint], values: Callable[[FrontPoint], tuple[float, ...]]) -> list[float]:
    """Return the values that an axis holds: those of all candidates, and those of other rows that are not far off."""
    of_candidates = [value for point in points if is_candidate(point.row) for value in values(point)]
    everything = [value for point in points for value in values(point)]
    if not of_candidates or min(of_candidates) == max(of_candidates):
        return everything
    reach = _FAR * (max(of_candidates) - min(of_candidates))
    low, high = min(of_candidates) - reach, max(of_candidates) + reach
    return [value for value in everything if low <= value <= high]


def _near_edge(value: float, span: AxisRange) -> float:
    if span.inside(value) == value:
        return value
    return span.between(_EDGE if value < span.low else 1 - _EDGE)


def _is_outside(point: FrontPoint, plane: _Plane) -> bool:
    """Return whether a mark stands at the edge of the plot, because its place is beyond it."""
    if point.row.group == "control":
        return False
    return plane.x.inside(point.x) != point.x or plane.y.inside(point.y) != point.y


def _draw_axes(axes: Axes, plane: _Plane) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_autoscale_on(False)
    titles = [
        f"{bounded(axis_name(column), 90)}  {_ARROWS[column.direction][n]}".rstrip()
        for n, column in enumerate((plane.across, plane.up))
    ]
    axes.set_xlabel(page.shortened(titles[0], _TITLE_SIZE, _WIDTH - _LEFT), fontsize=_TITLE_SIZE, parse_math=False)
    axes.set_ylabel(page.shortened(titles[1], _TITLE_SIZE, _PLOT_HEIGHT), fontsize=_TITLE_SIZE, parse_math=False)
    for axis, span, column, scale in (
        (axes.xaxis, plane.x, plane.across, axes.set_xscale),
        (axes.yaxis, plane.y, plane.up, axes.set_yscale),
    ):
        scale("log" if span.is_log else "linear")
        axis.set_major_locator(FixedLocator(_ticks(span, column)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value + 0.0:g}".replace("-", "\N{MINUS SIGN}")))
        axis.set_tick_params(labelsize=_TICK_SIZE, color=GREY, width=0.6, length=3)
    axes.set(xlim=(plane.x.low, plane.x.high), ylim=(plane.y.low, plane.y.high))
    axes.grid(color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)


def _ticks(span: AxisRange, column: Column) -> list[float]:
    """Return the values of the ticks; of a fraction none above 100 % that is only room for names."""
    from matplotlib.ticker import MaxNLocator

    if span.is_log:
        return log_ticks(span)
    ticks = [float(tick) for tick in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(span.low, span.high)]
    most = 100.0 if column.unit == "fraction" and span.low < 100 < span.high < 120 else span.high
    return [tick for tick in ticks if span.low <= tick <= most]


def _draw_points(axes: Axes, points: Sequence[FrontPoint], plane: _Plane) -> None:
    styles = marks([point.row.method for point in points], {point.row.method: point.row.family for point in points})
    for point in points:
        if point.row.group == "control":
            axes.axhline(point.y, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)
    front = sorted((point.x, point.y) for point in points if point.front)
    if len(front) > 1:
        # Between two methods nothing better than the worse of them was observed: a staircase, not a diagonal.
        stairs = "steps-pre" if plane.across.direction == "higher" else "steps-post"
        axes.plot(
            *zip(*front, strict=True),
            color=_FRONT_COLOUR,
            linewidth=1.2,
            linestyle=(0, (4, 2.5)),
            drawstyle=stairs,
            zorder=2,
        )
    for point in points:
        if point.row.group == "control":
            continue
        mark = styles[point.row.method]
        is_hollow = not is_candidate(point.row)
        colour = GREY if is_hollow else mark.colour
        position = plane.position(point)
        for x, y in ((point.x_error, position[1:] * 2), (position[:1] * 2, point.y_error)):
            axes.plot(x, y, color=colour, linewidth=0.9, solid_capstyle="butt", alpha=0.8, zorder=2.5)
        axes.plot(
            *position,
            linestyle="",
            marker=marker(mark.symbol),
            markersize=plane.diameter(point.row) * _PX,
            markerfacecolor="white" if is_hollow else colour,
            markeredgecolor=GREY if is_hollow else page.INK if point.front else "white",
            markeredgewidth=1.1 if is_hollow else 0.9 if point.front else 0.5,
            zorder=3 if is_hollow else 3.5,
            clip_on=False,
        )


class _Name(NamedTuple):
    """Name of a row, at an offset from a place of the plot; None: there is no room for it."""

    text: str
    point: FrontPoint
    position: tuple[float, float]
    offset: Offset | None


def _names(points: Sequence[FrontPoint], plane: _Plane, frame: Frame) -> list[_Name]:
    """Return the names where they overlap neither one another nor marks, intervals and the front."""
    # Of two names without room for both, that of a method on the front stays.
    ordered = sorted(
        points, key=lambda point: (not point.front, not is_candidate(point.row), point.row.group == "control")
    )
    controls = sorted((point for point in points if point.row.group == "control"), key=lambda point: point.y)
    texts = [_short(point.row) for point in ordered]
    named = [_named(point, text, controls, plane) for point, text in zip(ordered, texts, strict=True)]
    x, y = plane.x, plane.y
    spans = ((x.linear(x.low), x.linear(x.high)), (y.linear(y.low), y.linear(y.high)))
    offsets = label_offsets(named, *spans, frame, _steps(points, plane))
    names = []
    for point, text, offset in zip(ordered, texts, offsets, strict=True):
        is_control = point.row.group == "control"
        across, up = plane.position(point)
        names.append(_Name(text, point, (x.between(_share(point, controls)) if is_control else across, up), offset))
    return names


def _draw_names(axes: Axes, names: Sequence[_Name]) -> None:
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0, "relpos": (0.5, 0.5)}
    for name in names:
        if name.offset is None:
            continue
        axes.annotate(
            name.text,
            name.position,
            xytext=(name.offset.dx * _PX, -name.offset.dy * _PX),
            textcoords="offset points",
            ha=name.offset.align,
            va="center",
            fontsize=_NAME_SIZE,
            color=page.SOFT_INK if name.point.row.group == "control" else page.INK,
            fontweight="bold" if name.point.front else "normal",
            parse_math=False,
            arrowprops=leader if name.offset.is_far else None,
            annotation_clip=False,
            zorder=4,
        )


def _short(row: Row) -> str:
    return bounded(row.title_with_flags + (" (virtual)" if row.group == "virtual" else ""), _LONGEST_NAME)


def _share(control: FrontPoint, controls: Sequence[FrontPoint]) -> float:
    """Return the horizontal place of a control's name as a share of the plot."""
    return _CONTROL_NAMES_AT[controls.index(control) % len(_CONTROL_NAMES_AT)]


def _named(point: FrontPoint, name: str, controls: Sequence[FrontPoint], plane: _Plane) -> Named:
    x, y = plane.x, plane.y
    length = page.text_width(name, _NAME_SIZE, weight="bold" if point.front else "normal") / _PX
    level = y.linear(plane.position(point)[1])
    if point.row.group == "control":
        share = _share(point, controls)
        whole = (x.linear(x.low), x.linear(x.high))
        # A name is legible on the line of a control, which crosses the whole plot.
        return Named(name, x.linear(x.between(share)), level, 0.0, whole, (level, level), _RULE_PX, length)
    bars = [
        (span.linear(span.inside(low)), span.linear(span.inside(high)))
        for span, (low, high) in ((x, point.x_error), (y, point.y_error))
    ]
    return Named(
        name,
        x.linear(plane.position(point)[0]),
        level,
        plane.diameter(point.row) / 2,
        bars[0],
        bars[1],
        length_px=length,
    )


def _steps(points: Sequence[FrontPoint], plane: _Plane) -> list[tuple[Span, Span]]:
    """Return the horizontal and vertical parts of the staircase between neighbours of the front."""
    front = sorted((plane.x.linear(point.x), plane.y.linear(point.y)) for point in points if point.front)
    parts = []
    for (left, start), (right, end) in itertools.pairwise(front):
        level, turn = (end, left) if plane.across.direction == "higher" else (start, right)
        parts += [((left, right), (level, level)), ((turn, turn), (min(start, end), max(start, end)))]
    return parts


def _caption(board: Board, points: Sequence[FrontPoint], plane: _Plane, nameless: Sequence[str]) -> str:
    """Return what the figure shows, in sentences."""
    groups: Mapping[str, list[FrontPoint]] = {
        kind: [point for point in points if point.row.group == kind] for kind in ("method", "control", "virtual")
    }
    sentences = [f"{marked(bounded(board.title, 200), board)}."]
    directions = {plane.across.direction, plane.up.direction}
    if "none" in directions:
        sentences += ["No front: one of the metrics has no better direction."]
    elif not any(point.front for point in points):
        sentences += ["No front: no method here is without a flag."]
    else:
        on_front = "Bold names: on the Pareto front"
        sentences += [f"{on_front} (dashed)." if sum(point.front for point in points) > 1 else f"{on_front}."]
    hollow = [
        word
        for word, is_present in (
            ("flagged", any(point.row.flags for point in groups["method"])),
            ("virtual", bool(groups["virtual"])),
        )
        if is_present
    ]
    if hollow:
        sentences += [f"Hollow: {' or '.join(hollow)}, no part of the front."]
    if groups["control"]:
        sentences += [f"Dotted lines: controls, at their {bounded(axis_name(plane.up), 90)}."]
    if any(
        low < high for point in points if point.row.group != "control" for low, high in (point.x_error, point.y_error)
    ):
        sentences += ["Whiskers: 95 % intervals; a row with one seed has none."]
    if plane.sizes.legend:
        (small, _), (large, _) = plane.sizes.legend
        sentences += [f"The area of a mark grows with its {plane.sizes.title}, from {small} to {large}."]
    if outside := [point for point in points if _is_outside(point, plane)]:
        places = (
            f"{_short(point.row)} ({bounded(axis_name(plane.across), 90)} {point.x:g}, "
            f"{bounded(axis_name(plane.up), 90)} {point.y:g})"
            for point in outside
        )
        sentences += [f"At the edge, with places outside of the plot: {with_minus('; '.join(places))}."]
    if nameless:
        sentences += [f"Without room for their names: {'; '.join(nameless)}."]
    return " ".join(sentences)
