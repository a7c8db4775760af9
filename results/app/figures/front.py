"""Pareto front: one mark per method, with intervals, its expansion factor as size, and the Pareto line.

Methods that are no candidates (flagged or virtual) are hollow and grey. Controls are lines at their vertical value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from results.app.figures.labels import Named, label_offsets
from results.app.figures.spec import TEXT, Layer, Rows, Spec, figure, hover, line_legend, number_axis, room, rows
from results.app.standings import Point, is_candidate
from results.app.theme import GREY, LINE, Mark, marks
from results.app.titles import axis_title, one_line
from results.boards.board import Column, Row
from results.boards.lead_columns import column_name, unit_text
from results.published.points import Published
from results.published.rows import METHODS

CLICKED = "clicked"
"""Name of the selection: its rows have the field `CELL`."""
CELL = "cell"

_HEIGHT_PX = 510
_MEASURED, _PRINTED, _LINE = "measured here", "published, not measured here (italic)", "Pareto line"
_BESIDE = "flagged or virtual (grey), not on the front"
# Horizontal positions of the names of controls, as shares of the plot: neighbours have different ones.
_NAME_POSITIONS = (0.02, 0.35, 0.65)
_RULE_PX = 0.5
_ENDS = ("low", "high")
_Row = dict[str, Any]
_Interval = tuple[float, float, float]


def front_figure(points: Sequence[Point], x: Column, y: Column, published: Sequence[Published] = ()) -> Spec:
    """Return the figure; the row of each measured method has one of its cell ids in `CELL`.

    Figures of the paper that have both metrics, `published`, are drawn hollow and are no part of the Pareto line.
    """
    columns = {"x": x, "y": y}
    styles = marks([point.row.method for point in points])
    lines = [point for point in points if point.row.group == "control"]
    measured = [_measured(point, styles[point.row.method], columns) for point in points if point not in lines]
    printed = [_published(entry, columns) for entry in published]
    marked = [*measured, *printed]
    # A control has no horizontal position, so it does not widen the axis. More horizontal room, for names.
    ends = [row[f"x_{end}"] for row in marked for end in _ENDS]
    x_range = room(ends or [end for point in lines for end in point.x[1:]], 0.09)
    y_range = room([*(row[f"y_{end}"] for row in marked for end in _ENDS), *(point.y[0] for point in lines)])
    controls = _controls(lines, columns, x_range)
    offsets = label_offsets([_named(row) for row in [*marked, *controls]], x_range, y_range)
    for row, offset in zip([*marked, *controls], offsets, strict=True):
        row |= offset._asdict()
    front = sorted((point.x[0], point.y[0]) for point in points if point.on_front)
    kinds = [_MEASURED, *([_BESIDE] if any(row["is_hollow"] for row in measured) else [])]
    kinds += [_PRINTED] if printed else []
    data: dict[str, Rows] = {
        "line": [{"x": float(x), "y": float(y), "kind": _LINE} for x, y in front] if len(front) > 1 else [],
        # If all marks are filled, no word for them is needed.
        "kinds": [{"kind": kind} for kind in kinds] if len(kinds) > 1 else [],
        "controls": controls,
        "published": printed,
        "measured": measured,
    }

    position = {
        "x": number_axis(alt.X, "x", axis_title(x), x_range),
        "y": number_axis(alt.Y, "y", axis_title(y), y_range),
    }
    tooltips = {name: _hover(name, x, y) for name in ("published", "measured")}
    layers = [
        _rules(position, _hover("controls", x, y)),
        _line(position, x),
        _key(kinds),
        *(_bars(name, channel, position) for channel in "xy" for name in tooltips),
        *(_marks(name, position, tooltip) for name, tooltip in tooltips.items()),
        _names("controls", position, _hover("controls", x, y)),
        *(_names(name, position, tooltip) for name, tooltip in tooltips.items()),
    ]
    return figure(layers, data, height=_HEIGHT_PX)


def marker_size(factor: float | None) -> float:
    """Return a marker's diameter in pixels: its area grows with the logarithm of the expansion factor."""
    return 12.0 if factor is None or factor <= 1 else min(12.0 * math.sqrt(1 + math.log2(factor)), 40.0)


def _measured(point: Point, mark: Mark, columns: Mapping[str, Column]) -> _Row:
    hollow = not is_candidate(point.row)
    mark = mark._replace(colour=GREY) if hollow else mark
    row = _row(_name(point.row), point.factor, mark, {"x": point.x, "y": point.y}, columns)
    outline = {"outline": TEXT, "outline_px": 2.0} if point.on_front else {"outline": LINE, "outline_px": 0.5}
    if hollow:
        outline = {"outline": GREY, "outline_px": 1.5}
    row |= outline | {CELL: point.row.cell_ids[0], "is_hollow": hollow, "fill_opacity": 0.0 if hollow else 1.0}
    return _with_status(row, point)


def _controls(points: Sequence[Point], columns: Mapping[str, Column], x_range: Sequence[float]) -> list[_Row]:
    """Return a row per control: a line over the whole plot at its vertical value, and the place of its name on it."""
    controls = []
    for number, point in enumerate(sorted(points, key=lambda point: point.y[0])):
        row = _row(point.row.title_with_flags, point.factor, Mark(GREY, ""), {"x": point.x, "y": point.y}, columns)
        left, right = x_range
        x = left + _NAME_POSITIONS[number % len(_NAME_POSITIONS)] * (right - left)
        row |= {"x": x, "x_low": left, "x_high": right, "y_low": row["y"], "y_high": row["y"], "size": 0.0}
        controls.append(_with_status(row | {CELL: point.row.cell_ids[0]}, point))
    return controls


def _name(row: Row) -> str:
    return row.title_with_flags + (" (virtual)" if row.group == "virtual" else "")


def _with_status(row: _Row, point: Point) -> _Row:
    """Return the row with its share of the front, or why it has none."""
    if point.share is not None:
        status = f"on the front in {100 * point.share:.0f} % of the draws"
    elif is_candidate(point.row):
        status = ""
    else:
        reasons = [] if point.row.group == "method" else [point.row.group]
        reasons += [f"{flag.name}, {flag.sentence}" for flag in point.row.flags]
        status = f"not compared: {one_line('; '.join(reasons))}"
    return row | {"status": status, "text": row["text"] + (f", {status}" if status else "")}


def _published(entry: Published, columns: Mapping[str, Column]) -> _Row:
    method = METHODS.get(entry.method, entry.method)
    mark = marks([method])[method]
    spans = {channel: _span(entry, column) for channel, column in columns.items()}
    row = _row(entry.method, entry.expansion_factor, mark, spans, columns)
    row["text"] += f", published, not measured here: {entry.setting}"
    return row | {"outline": mark.colour, "outline_px": 2.0, "setting": one_line(entry.setting)}


def _row(
    name: str, factor: float | None, mark: Mark, spans: Mapping[str, _Interval], columns: Mapping[str, Column]
) -> _Row:
    row: _Row = {
        "name": one_line(name),
        "colour": mark.colour,
        "shape": mark.symbol,
        "size": marker_size(factor) ** 2,
        "factor_text": "not measured" if factor is None else f"{factor:.2f}",
    }
    for channel, (mean, low, high) in spans.items():
        row |= {
            channel: float(mean),
            f"{channel}_low": float(min(low, mean)),
            f"{channel}_high": float(max(high, mean)),
            f"{channel}_text": _words(columns[channel], spans[channel]),
        }
    values = (f"{one_line(column_name(columns[channel]))} {row[f'{channel}_text']}" for channel in "yx")
    return row | {"text": f"{row['name']}: {', '.join(values)}"}


def _span(entry: Published, column: Column) -> _Interval:
    factor = 100.0 if column.unit == "fraction" else 1.0
    value = entry.values[column.metric]
    low, high = entry.errors.get(column.metric, (value, value))
    return value * factor, low * factor, high * factor


def _words(column: Column, span: _Interval) -> str:
    mean, low, high = (f"{value:.{column.digits}f}" for value in span)
    unit = one_line(unit_text(column))
    return mean + (f" [{low}, {high}]" if span[2] > span[1] else "") + (f" {unit}" if unit else "")


def _named(row: _Row) -> Named:
    x_bar, y_bar = ((row[f"{channel}_low"], row[f"{channel}_high"]) for channel in "xy")
    named = Named(row["name"], row["x"], row["y"], math.sqrt(row["size"]) / 2, x_bar, y_bar)
    # A name is legible on the line of a control, which crosses the whole plot.
    return named if row["size"] else named._replace(bar_px=_RULE_PX)


def _hover(name: str, x: Column, y: Column) -> list[alt.Tooltip]:
    lines = {column_name(y): "y_text", column_name(x): "x_text", "expansion factor": "factor_text"}
    if name == "published":
        lines[_PRINTED] = "setting"
    elif "none" not in (x.direction, y.direction):
        lines["front"] = "status"
    return hover("name", lines)


def _line(position: Mapping[str, Any], x: Column) -> Layer:
    # Between two methods of the front, nothing better than the worse of them was observed: a staircase, not a diagonal.
    stairs = "step-before" if x.direction == "higher" else "step-after"
    scale = alt.Scale(domain=[_LINE], range=[[7, 5]])
    legend = line_legend(symbolStrokeColor=LINE, symbolDash=[7, 4])
    return (
        rows("line")
        .mark_line(interpolate=stairs, color=LINE, strokeWidth=2.5)
        .encode(**position, strokeDash=alt.StrokeDash("kind:N", scale=scale, legend=legend))
    )


def _bars(name: str, channel: str, position: Mapping[str, Any]) -> Layer:
    """Return the intervals of one metric that have a length."""
    low = position[channel].copy(deep=False)
    low["shorthand"] = f"{channel}_low:Q"
    high = {"x2": alt.X2("x_high")} if channel == "x" else {"y2": alt.Y2("y_high")}
    return (
        rows(name)
        .transform_filter(f"datum.{channel}_high > datum.{channel}_low")
        .mark_errorbar(opacity=0.6, ticks={"size": 7, "thickness": 1.5})
        .encode(
            **{**position, channel: low},
            **high,
            color=alt.Color("colour:N", scale=None),
            tooltip=alt.TooltipValue(None),
        )
    )


def _key(kinds: Sequence[str]) -> Layer:
    """Return an invisible layer that adds the legend of filled and hollow marks."""
    colours = [LINE if kind == _MEASURED else "transparent" for kind in kinds]
    scale = alt.Scale(domain=list(kinds), range=colours)
    legend = alt.Legend(symbolType="circle", symbolStrokeColor=LINE, symbolStrokeWidth=2, symbolSize=200)
    return rows("kinds").mark_point(size=0, opacity=1).encode(fill=alt.Fill("kind:N", scale=scale, legend=legend))


def _rules(position: Mapping[str, Any], tooltip: list[alt.Tooltip]) -> Layer:
    """Return the lines of controls, over the whole width."""
    return (
        rows("controls")
        .mark_rule(color=GREY, strokeWidth=1, strokeDash=[2, 4], aria=True)
        .encode(y=position["y"], description=alt.Description("text:N"), tooltip=tooltip)
    )


def _marks(name: str, position: Mapping[str, Any], tooltip: list[alt.Tooltip]) -> Layer:
    measured = name == "measured"
    chart = (
        rows(name)
        .mark_point(opacity=1, fillOpacity=0, aria=True, cursor="pointer" if measured else "default")
        .encode(
            **position,
            shape=alt.Shape("shape:N", scale=None),
            size=alt.Size("size:Q", scale=None),
            fill=alt.Fill("colour:N", scale=None),
            stroke=alt.Stroke("outline:N", scale=None),
            strokeWidth=alt.StrokeWidth("outline_px:Q", scale=None),
            description=alt.Description("text:N"),
            tooltip=tooltip,
        )
    )
    if not measured:
        return chart
    chart = chart.encode(fillOpacity=alt.FillOpacity("fill_opacity:Q", scale=None))
    return chart.add_params(alt.selection_point(name=CLICKED, fields=[CELL], toggle=False))


def _names(name: str, position: Mapping[str, Any], tooltip: list[alt.Tooltip]) -> Layer:
    control = name == "controls"
    return (
        rows(name)
        .mark_text(
            align={"expr": "datum.align"},
            dx={"expr": "datum.dx"},
            dy={"expr": "datum.dy"},
            baseline="middle",
            color=GREY if control else TEXT,
            fontSize=11 if control else 12,
            fontStyle="italic" if name == "published" else "normal",
            cursor="default" if name == "published" else "pointer",
            limit=0,
        )
        # Marks with a tooltip receive clicks, too.
        .encode(**position, text=alt.Text("name:N"), tooltip=tooltip)
    )
