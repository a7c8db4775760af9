"""Rows of the front's figure: the marks of methods, the lines of controls, and the marks of published figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.app.figures.spec import TEXT
from results.app.seed_range import RANGE, is_seed_range
from results.app.standings import Point, is_candidate, mean_of
from results.app.titles import one_line
from results.boards.board import Column, Row
from results.boards.lead_columns import column_name, unit_text
from results.boards.scales import AxisRange, MarkSizes
from results.minus_sign import with_minus
from results.pictures.labels import Frame, Named, Span, label_offsets
from results.pictures.theme import ACCENT, GREY, LINE, Mark, marks
from results.published.points import Published
from results.published.rows import METHODS

CELL = "cell"
"""Field with one of the cell ids of a method."""
FigureRow = dict[str, Any]
Interval = tuple[float, float, float]

# Horizontal positions of the names of controls, as shares of the plot: neighbours have different ones.
_NAME_POSITIONS = (0.02, 0.35, 0.65)
_RULE_PX = 0.5
_LONGEST_NAME = 44
# A method that is never on the front is pale, but has a colour.
_PALEST = 0.2


class Scales(NamedTuple):
    """Metrics of the figure and their scales."""

    columns: Mapping[str, Column]
    """"x" and "y" -> metric"""
    ranges: Mapping[str, AxisRange]
    """"x" and "y" -> range"""
    size: Column | None
    sizes: MarkSizes
    focus: Row | None
    """row that is drawn as the one in focus"""
    compared: Sequence[Row] = ()
    """rows whose intervals are drawn as strongly as that of the row in focus"""


def measured_row(point: Point, mark: Mark, scales: Scales) -> FigureRow:
    """Return the row of a method's mark; it is hollow and grey if the method is not ranked."""
    hollow = not is_candidate(point.row)
    mark = mark._replace(colour=GREY) if hollow else mark
    row = _row(_name(point.row), mark, {"x": point.x, "y": point.y}, scales, size_of(point.row, scales.size))
    if hollow:
        outline = {"outline": GREY, "outline_px": 1.5}
    else:
        outline = {"outline": TEXT, "outline_px": 1.5} if point.on_front else {"outline": LINE, "outline_px": 0.5}
    row |= outline | _focused(_is_focus(point.row, scales), is_compared=_is_compared(point.row, scales))
    fill = 0.0 if hollow else 1.0 if point.share is None else _PALEST + (1 - _PALEST) * point.share
    row |= {CELL: point.row.cell_ids[0], "is_hollow": hollow, "is_on_front": point.on_front, "fill_opacity": fill}
    return _with_status(row, point)


def control_rows(points: Sequence[Point], scales: Scales) -> list[FigureRow]:
    """Return a row per control: a line over the whole plot at its vertical value, and the place of its name on it."""
    controls = []
    span = scales.ranges["x"]
    for number, point in enumerate(sorted(points, key=lambda point: point.y[0])):
        size = size_of(point.row, scales.size)
        row = _row(point.row.title_with_flags, Mark(GREY, ""), {"x": point.x, "y": point.y}, scales, size)
        x = span.between(_NAME_POSITIONS[number % len(_NAME_POSITIONS)])
        row |= {"x": x, "x_low": span.low, "x_high": span.high, "y_low": row["y"], "y_high": row["y"], "size": 0.0}
        row |= _focused(_is_focus(point.row, scales)) | {CELL: point.row.cell_ids[0]}
        row["colour"] = ACCENT if _is_focus(point.row, scales) else GREY
        controls.append(_with_status(row, point))
    return controls


def published_row(entry: Published, scales: Scales) -> FigureRow:
    """Return the row of the mark of a published figure."""
    method = METHODS.get(entry.method, entry.method)
    mark = marks([method])[method]
    spans = {channel: published_span(entry, column) for channel, column in scales.columns.items()}
    has_size = scales.size is not None and scales.size.metric == "expansion_factor"
    row = _row(entry.method, mark, spans, scales, entry.expansion_factor if has_size else None)
    row["text"] += f", published, not measured here: {entry.setting}"
    row |= {"outline": mark.colour, "outline_px": 2.0, "setting": one_line(entry.setting)}
    return row | _focused(False)


def published_span(entry: Published, column: Column) -> Interval:
    """Return the published mean, low and high of a metric in display units."""
    factor = 100.0 if column.unit == "fraction" else 1.0
    value = entry.values[column.metric]
    low, high = entry.errors.get(column.metric, (value, value))
    return value * factor, low * factor, high * factor


def place_names(rows: Sequence[FigureRow], scales: Scales, frame: Frame, front: Sequence[tuple[float, float]]) -> None:
    """Add to each row the place of its name, off the line of the `front`; `label` is empty if there is no room."""
    # Stable: of two names without room for both, the one in focus or on the front stays.
    ordered = sorted(rows, key=lambda row: (not row["is_focus"], not row.get("is_on_front")))
    x, y = scales.ranges["x"], scales.ranges["y"]
    spans = ((x.linear(x.low), x.linear(x.high)), (y.linear(y.low), y.linear(y.high)))
    offsets = label_offsets([_named(row, x, y) for row in ordered], *spans, frame, _steps(front, scales))
    for row, offset in zip(ordered, offsets, strict=True):
        row["label"] = "" if offset is None else row["short_name"]
        row |= {"align": "left", "dx": 0.0, "dy": 0.0, "is_far": False} if offset is None else offset._asdict()


def _steps(front: Sequence[tuple[float, float]], scales: Scales) -> list[tuple[Span, Span]]:
    """Return the horizontal and vertical parts of the staircase between neighbours of the front, sorted by x."""
    linear = {channel: span.linear for channel, span in scales.ranges.items()}
    places = [(linear["x"](x), linear["y"](y)) for x, y in front]
    is_before = scales.columns["x"].direction == "higher"
    parts = []
    for (left, start), (right, end) in itertools.pairwise(places):
        across, turn = (end, left) if is_before else (start, right)
        parts += [((left, right), (across, across)), ((turn, turn), (min(start, end), max(start, end)))]
    return parts


def interval_text(column: Column, span: Interval) -> str:
    """Return a mean with its interval and unit: "60.50 [59.10, 61.90] %"; it says so if it is a range over seeds."""
    mean, low, high = (with_minus(f"{value:.{column.digits}f}") for value in span)
    unit = one_line(unit_text(column))
    text = mean + (f" [{low}, {high}]" if span[2] > span[1] else "") + (f" {unit}" if unit else "")
    return f"{text}, {RANGE}" if span[2] > span[1] and is_seed_range(column) else text


def size_of(row: Row, column: Column | None) -> float | None:
    """Return a row's value of the metric of the marks' sizes, in display units; None if it has none."""
    mean = None if column is None else mean_of(row, column.key)
    return None if mean is None or column is None else mean * (100.0 if column.unit == "fraction" else 1.0)


def _is_focus(row: Row, scales: Scales) -> bool:
    return scales.focus is not None and row.cell_ids == scales.focus.cell_ids


def _is_compared(row: Row, scales: Scales) -> bool:
    return any(row.cell_ids == other.cell_ids for other in scales.compared)


def _focused(is_focus: bool, *, is_compared: bool = False) -> FigureRow:
    """Return how strongly the interval and the name of a row are drawn."""
    bar = {"bar_opacity": 0.9, "bar_px": 2.0} if is_focus or is_compared else {"bar_opacity": 0.45, "bar_px": 1.0}
    return bar | {"is_focus": is_focus, "weight": "bold" if is_focus else "normal"}


def _name(row: Row) -> str:
    return row.title_with_flags + (" (virtual)" if row.group == "virtual" else "")


def _with_status(row: FigureRow, point: Point) -> FigureRow:
    """Return the row with its share of the front, or why it has none."""
    if point.share is not None:
        status = f"on the front in {100 * point.share:.0f} % of the draws"
    elif is_candidate(point.row):
        status = ""
    else:
        reasons = [] if point.row.group == "method" else [point.row.group]
        reasons += [f"{flag.name}, {flag.sentence}" for flag in point.row.flags]
        status = f"not ranked: {one_line('; '.join(reasons))}"
    return row | {"status": status, "text": row["text"] + (f", {status}" if status else "")}


def _row(name: str, mark: Mark, spans: Mapping[str, Interval], scales: Scales, size: float | None) -> FigureRow:
    text = one_line(name)
    row: FigureRow = {
        "name": text,
        "short_name": text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…",
        "colour": mark.colour,
        "shape": mark.symbol,
        "size": scales.sizes.diameter(size) ** 2,
        "size_text": "not measured" if size is None or scales.size is None else _value_text(scales.size, size),
    }
    for channel, (mean, low, high) in spans.items():
        inside = scales.ranges[channel].inside
        row |= {
            channel: float(inside(mean)),
            f"{channel}_low": float(inside(min(low, mean))),
            f"{channel}_high": float(inside(max(high, mean))),
            f"{channel}_text": interval_text(scales.columns[channel], spans[channel]),
        }
    values = (f"{one_line(column_name(scales.columns[channel]))} {row[f'{channel}_text']}" for channel in "yx")
    return row | {"text": f"{row['name']}: {', '.join(values)}"}


def _value_text(column: Column, value: float) -> str:
    unit = one_line(unit_text(column))
    return f"{value:.{column.digits}f}{f' {unit}' if unit else ''}"


def _named(row: FigureRow, x: AxisRange, y: AxisRange) -> Named:
    x_bar, y_bar = (
        (span.linear(row[f"{channel}_low"]), span.linear(row[f"{channel}_high"]))
        for channel, span in (("x", x), ("y", y))
    )
    radius = math.sqrt(row["size"]) / 2 + (8 if row["is_focus"] and row["size"] else 0)
    named = Named(row["short_name"], x.linear(row["x"]), y.linear(row["y"]), radius, x_bar, y_bar)
    # A name is legible on the line of a control, which crosses the whole plot.
    return named if row["size"] else named._replace(bar_px=_RULE_PX)
