"""Front of a layer as a drawing: marks, intervals, the staircase, controls as lines, names that do not overlap.

Positions are in px of a plot of one width. The template `front.svg` draws them, once for wide and once for narrow
windows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from results.app.standings import Point, is_candidate
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name, unit_text
from results.minus_sign import with_minus
from results.pictures.labels import Frame, Named, Offset, label_offsets
from results.pictures.theme import GREY, marks
from results.short_number import short_number
from results.site.names import row_name
from results.site.texts import bounded

#: Plotting area in narrow and in wide windows.
FRAME = Frame((600.0, 1090.0), 350.0)
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 30.0, 46.0
#: Longest name in the figure, and the horizontal positions of controls' names, as shares of the plot.
_MOST_LETTERS = 44
_CONTROL_NAMES_AT = (0.02, 0.35, 0.65)
_ARROWS = {"higher": "→ better", "lower": "← better", "none": ""}
_ARROWS_UP = {"higher": "↑ better", "lower": "↓ better", "none": ""}
_CIRCLE = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z"
#: Shapes by their name in Vega, as SVG paths in a square from -1 to 1.
_SHAPES: Mapping[str, str] = {
    "circle": _CIRCLE,
    "square": "M-.89,-.89H.89V.89H-.89Z",
    "diamond": "M0,-1.15L1,0L0,1.15L-1,0Z",
    "cross": "M-1,-.4H-.4V-1H.4V-.4H1V.4H.4V1H-.4V.4H-1Z",
    "triangle-up": "M0,-1L1,.8H-1Z",
    "triangle-down": "M0,1L1,-.8H-1Z",
    "triangle-left": "M-1,0L.8,-1V1Z",
    "triangle-right": "M1,0L-.8,-1V1Z",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontMark:
    """Row in the figure; positions in px."""

    name: str
    page: str
    x: float
    y: float
    x_bar: tuple[float, float]
    y_bar: tuple[float, float]
    radius: float
    colour: str
    path: str
    kind: str
    """"front", "method", "beside" (flagged or virtual) or "control" """
    label: Offset | None
    """None: the name has no room"""
    tip: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """Figure of one width."""

    width: float
    height: float
    marks: tuple[FrontMark, ...]
    stairs: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Front:
    """Figure of a layer.

    Attributes:
        plots: class of the page's style -> figure of one width.
        x_title, y_title: titles of the axes.
        on_front: names of the methods on the front.
        kinds: kinds of marks that occur.
        shares: name of each candidate and its share of the draws in percent, the largest first.
    """

    plots: Mapping[str, Plot]
    x_title: str
    y_title: str
    on_front: tuple[str, ...]
    kinds: frozenset[str]
    shares: tuple[tuple[str, str], ...]


def front(board: Board, points: Sequence[Point], x: Column, y: Column) -> Front | None:
    """Return the figure of a board's points; None without any."""
    if not points:
        return None
    ordered = sorted(points, key=lambda point: (point.y[0], point.row.title), reverse=True)
    others = [point for point in ordered if point.row.group != "control"]
    x_range = _room([end for point in others or ordered for end in point.x], 0.07)
    y_range = _room([*(end for point in others for end in point.y), *(p.y[0] for p in ordered)], 0.06)
    named = [_named(point, number, x_range) for number, point in enumerate(ordered)]
    offsets = label_offsets(named, x_range, y_range, FRAME)
    styles = marks([point.row.method for point in ordered])
    plots = {}
    for kind, width in zip(("narrow", "wide"), FRAME.widths_px, strict=True):
        plane = _Plane(x_range, y_range, width)
        drawn = tuple(
            _mark(
                board,
                point,
                place,
                offset,
                styles[point.row.method].colour,
                styles[point.row.method].symbol,
                plane,
                x,
                y,
            )
            for point, place, offset in zip(ordered, named, offsets, strict=True)
        )
        plots[kind] = Plot(
            width=LEFT + width + RIGHT,
            height=TOP + FRAME.height_px + BOTTOM,
            marks=drawn,
            stairs=_stairs([point for point in ordered if point.on_front], x, plane),
            x_ticks=tuple((plane.x(value), text) for value, text in _ticks(x_range, 6 if kind == "narrow" else 9)),
            y_ticks=tuple((plane.y(value), text) for value, text in _ticks(y_range, 6)),
        )
    shares = sorted(((point.share, point.row.title) for point in points if point.share is not None), reverse=True)
    return Front(
        plots=plots,
        x_title=f"{_title(x)} {_ARROWS[x.direction]}",
        y_title=f"{_title(y)} {_ARROWS_UP[y.direction]}",
        on_front=tuple(point.row.title for point in ordered if point.on_front),
        kinds=frozenset(mark.kind for mark in plots["wide"].marks),
        shares=tuple((title, f"{100 * share:.0f}") for share, title in shares),
    )


@dataclasses.dataclass(frozen=True)
class _Plane:
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return TOP + FRAME.height_px * (1 - (value - low) / (high - low))

    @property
    def ends(self) -> tuple[float, float]:
        return LEFT, LEFT + self.width


def _mark(
    board: Board,
    point: Point,
    place: Named,
    offset: Offset | None,
    colour: str,
    symbol: str,
    plane: _Plane,
    x: Column,
    y: Column,
) -> FrontMark:
    row = point.row
    is_control = row.group == "control"
    kind = "control" if is_control else "front" if point.on_front else "method" if is_candidate(row) else "beside"
    return FrontMark(
        name=place.name,
        page=f"methods/{row_name(board, row)}.html",
        x=plane.x(place.x),
        y=plane.y(place.y),
        x_bar=plane.ends if is_control else (plane.x(place.x_bar[0]), plane.x(place.x_bar[1])),
        y_bar=(plane.y(place.y_bar[0]), plane.y(place.y_bar[1])),
        radius=place.radius,
        colour=GREY if kind in ("control", "beside") else colour,
        path=_SHAPES.get(symbol, symbol),
        kind=kind,
        label=offset,
        tip=tuple(_tip(point, x, y)),
    )


def _named(point: Point, number: int, x_range: tuple[float, float]) -> Named:
    name = bounded(_name(point.row), _MOST_LETTERS)
    if point.row.group != "control":
        return Named(name, point.x[0], point.y[0], radius(point.factor), point.x[1:], point.y[1:], bar_px=0.5)
    low, high = x_range
    at = low + _CONTROL_NAMES_AT[number % len(_CONTROL_NAMES_AT)] * (high - low)
    return Named(name, at, point.y[0], 0.0, x_range, (point.y[0], point.y[0]), bar_px=0.5)


def _name(row: Row) -> str:
    return row.title_with_flags + (" (virtual)" if row.group == "virtual" else "")


def _tip(point: Point, x: Column, y: Column) -> list[str]:
    lines = [bounded(_name(point.row), 120), *(span_text(c, s) for c, s in ((y, point.y), (x, point.x)))]
    if point.factor is not None:
        lines.append(f"expansion factor {short_number(point.factor)}")
    if point.share is not None:
        lines.append(f"on the front in {100 * point.share:.0f} % of the draws")
    lines += [bounded(f"{flag.name}: {flag.sentence}", 160) for flag in point.row.flags]
    return lines


def span_text(column: Column, span: tuple[float, float, float]) -> str:
    """Return a mean with its interval: "MS above chance 57.2 [56.3, 58.1] %"."""
    mean, low, high = map(short_number, span)
    unit = unit_text(column)
    interval = f" [{low}, {high}]" if low != high else ""
    return bounded(f"{column_name(column)} {mean}{interval}{f' {unit}' if unit else ''}", 120)


def radius(factor: float | None) -> float:
    """Return the radius of a mark in px: its area grows with the logarithm of the expansion factor."""
    return 6.0 if factor is None or not factor > 1 else min(6.0 * math.sqrt(1 + math.log2(factor)), 20.0)


def _title(column: Column) -> str:
    unit = unit_text(column)
    return bounded(f"{column_name(column)} ({unit})" if unit else column_name(column), 80)


def _stairs(points: Sequence[Point], x: Column, plane: _Plane) -> str:
    """Return the path between the methods of the front: nothing better than the worse of two was observed."""
    corners = sorted((plane.x(point.x[0]), plane.y(point.y[0])) for point in points)
    if len(corners) < 2:
        return ""
    steps = [f"M{corners[0][0]:.1f},{corners[0][1]:.1f}"]
    for across, up in corners[1:]:
        first, second = f"V{up:.1f}", f"H{across:.1f}"
        steps += [first, second] if x.direction == "higher" else [second, first]
    return "".join(steps[:400])


def _room(values: Sequence[float], share: float) -> tuple[float, float]:
    """Return a range around values with some room at its ends."""
    low, high = min(values), max(values)
    # Equal values, or nearly equal ones, get a range that has numbers to write at its ticks.
    room = max(share * (high - low), 1e-4 * max(abs(low), abs(high)), 1e-6)
    return low - room, high + room


def _ticks(span: tuple[float, float], most: int) -> list[tuple[float, str]]:
    low, high = span
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    digits = max(-math.floor(math.log10(step)), 0)
    return [(number * step, _tick(number * step, digits)) for number in range(first, min(last, first + 50) + 1)]


def _tick(value: float, digits: int) -> str:
    return short_number(value) if abs(value) >= 1e4 or digits > 4 else with_minus(f"{value + 0.0:.{digits}f}")
