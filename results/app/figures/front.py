"""Pareto front: one mark per method, with its interval, the size of a cost, and the Pareto line.

Methods that are no candidates (flagged or virtual) are hollow and grey. Controls are lines at their vertical value. The
fill of a mark is the more opaque the more often the method is on the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from results.app.figures.front_rows import (
    CELL,
    FigureRow,
    Scales,
    control_rows,
    measured_row,
    place_names,
    published_row,
    published_span,
    size_of,
)
from results.app.figures.front_scales import axis
from results.app.figures.spec import TEXT, Layer, Rows, Spec, figure, hover, line_legend, rows
from results.app.standings import Point
from results.app.titles import axis_title, title_and_unit
from results.boards.board import Column, Row
from results.boards.lead_columns import column_name
from results.boards.scales import AxisRange, MarkSizes, axis_range, mark_sizes
from results.pictures.labels import SMALL, WIDE, Frame
from results.pictures.theme import ACCENT, LINE, marks
from results.published.points import Published

CLICKED = "clicked"
"""Name of the selection: its rows have the field `CELL`."""
_HOVERED = "hovered"
_MEASURED, _PRINTED, _LINE = "measured here", "published (italic)", "Pareto front"
_BESIDE = "not ranked"
_ENDS = ("low", "high")


class Look(NamedTuple):
    """Choices of how the front is drawn."""

    size: Column | None = None
    """metric of the marks' areas; None: equal areas"""
    focus: Row | None = None
    """row that is emphasised"""
    compared: Sequence[Row] = ()
    """rows whose intervals are drawn as strongly as that of the row in focus"""
    height_px: int = 440
    is_small: bool = False
    """draw one of several small plots: without legends and without names that are not on the front or in focus"""
    families: Mapping[str, str | None] | None = None
    """method -> family of all methods of the page, so that each keeps its mark if others are not drawn"""
    ranges: Mapping[str, AxisRange] | None = None
    """"x" and "y" -> range; None: from the points"""


DEFAULT_LOOK = Look()


def front_figure(
    points: Sequence[Point], x: Column, y: Column, published: Sequence[Published] = (), look: Look = DEFAULT_LOOK
) -> Spec:
    """Return the figure; the row of each measured method has one of its cell ids in `CELL`.

    Figures of the paper that have both metrics, `published`, are drawn hollow and are no part of the Pareto line.
    """
    columns = {"x": x, "y": y}
    marked, lines = _marked(points), [point for point in points if point.row.group == "control"]
    ranges = look.ranges or front_ranges(points, columns, published)
    values = [value for point in marked if (value := size_of(point.row, look.size)) is not None]
    scales = Scales(columns, ranges, look.size, mark_sizes(look.size, values), look.focus, look.compared)
    families = {point.row.method: point.row.family for point in points} | dict(look.families or {})
    styles = marks(families, families)
    measured = [measured_row(point, styles[point.row.method], scales) for point in marked]
    printed = [published_row(entry, scales) for entry in published]
    controls = control_rows(lines, scales)
    named = [*measured, *printed, *controls]
    frame: Frame = WIDE
    if look.is_small:
        on_front = {point.row.cell_ids[0] for point in points if point.on_front}
        frame, named = SMALL, [row for row in measured if row["is_focus"] or row[CELL] in on_front]
    front = sorted((point.x[0], point.y[0]) for point in points if point.on_front)
    place_names(named, scales, frame, front)
    data: dict[str, Rows] = {
        "line": [{"x": float(x), "y": float(y), "kind": _LINE} for x, y in front] if len(front) > 1 else [],
        "kinds": _kinds(measured, printed),
        "sizes": [{"kind": text} for text, _ in scales.sizes.legend],
        "controls": controls,
        "published": printed,
        "measured": measured,
        "named_controls": [row for row in controls if row.get("label")],
        "named_published": [row for row in printed if row.get("label")],
        "named_measured": [row for row in measured if row.get("label")],
        "led": [row for row in named if row.get("is_far") and row["label"]],
        "focus": [row for row in measured if row["is_focus"]],
    }
    if look.is_small:
        data |= {"kinds": [], "sizes": []}
    return _drawn(data, scales, look)


def front_ranges(
    points: Sequence[Point], columns: Mapping[str, Column], published: Sequence[Published] = ()
) -> dict[str, AxisRange]:
    """Return the ranges of the axes that hold all marks and their intervals."""
    marked = _marked(points)
    spans = {
        channel: [
            *(getattr(point, channel) for point in marked),
            *(published_span(entry, column) for entry in published),
        ]
        for channel, column in columns.items()
    }
    # A control has no horizontal position, so it does not widen the axis. More horizontal room, for names.
    x_ends = [end for span in spans["x"] or [point.x for point in points] for end in span]
    levels = (point.y[0] for point in points if point.row.group == "control")
    y_ends = [*(end for span in spans["y"] for end in span), *levels]
    return {"x": axis_range(columns["x"], x_ends, 0.09), "y": axis_range(columns["y"], y_ends, 0.06)}


def _marked(points: Sequence[Point]) -> list[Point]:
    """Return the points that have a mark: all but controls."""
    return [point for point in points if point.row.group != "control"]


def _kinds(measured: Sequence[FigureRow], printed: Sequence[FigureRow]) -> list[FigureRow]:
    """Return the legend's entries for filled and hollow marks; none if all marks are filled."""
    kinds = [_MEASURED, *([_BESIDE] if any(row["is_hollow"] for row in measured) else [])]
    kinds += [_PRINTED] if printed else []
    return [{"kind": kind} for kind in kinds] if len(kinds) > 1 else []


def _drawn(data: Mapping[str, Rows], scales: Scales, look: Look) -> Spec:
    x, y = scales.columns["x"], scales.columns["y"]
    titles = [title_and_unit(column) if look.is_small else axis_title(column, across=column is x) for column in (x, y)]
    ticks = 4 if look.is_small else 6
    position = {
        "x": axis(alt.X, titles[0], scales.ranges["x"], ticks),
        "y": axis(alt.Y, titles[1], scales.ranges["y"], ticks),
    }
    tooltips = {name: _hover(name, scales) for name in ("published", "measured", "controls")}
    hovered = alt.selection_point(name=_HOVERED, fields=[CELL], on="pointerover", clear="pointerout", empty=False)
    layers = [
        _rules(position, tooltips["controls"]),
        _line(position, x, has_legend=not look.is_small),
        _key([str(row["kind"]) for row in data["kinds"]]),
        _sizes(scales.sizes),
        *(_bars(name, channel, position, hovered) for channel in "xy" for name in ("published", "measured")),
        _leaders(position),
        _halo(position),
        _marks("published", position, tooltips["published"]),
        _marks("measured", position, tooltips["measured"], hovered),
        *(_names(name, position, tooltips[name]) for name in ("controls", "published", "measured")),
    ]
    spec = figure(layers, data, height=look.height_px)
    # The page's own colour: the theme's grey has too little contrast.
    spec["config"]["axis"] |= {"labelColor": TEXT, "titleColor": TEXT, "labelOpacity": 0.85, "gridOpacity": 0.5}
    spec["config"]["legend"] |= {"labelColor": TEXT, "titleColor": TEXT, "labelFontSize": 12, "titleFontSize": 12}
    return spec


def _hover(name: str, scales: Scales) -> list[alt.Tooltip]:
    x, y = scales.columns["x"], scales.columns["y"]
    lines = {column_name(y): "y_text", column_name(x): "x_text"}
    if scales.size is not None and scales.size not in (x, y):
        lines[column_name(scales.size)] = "size_text"
    if name == "published":
        lines[_PRINTED] = "setting"
    elif "none" not in (x.direction, y.direction):
        lines["front"] = "status"
    return hover("name", lines)


def _line(position: Mapping[str, Any], x: Column, *, has_legend: bool) -> Layer:
    # Between two methods of the front, nothing better than the worse of them was observed: a staircase, not a diagonal.
    stairs = "step-before" if x.direction == "higher" else "step-after"
    scale = alt.Scale(domain=[_LINE], range=[[6, 4]])
    legend = line_legend(symbolStrokeColor=LINE, symbolDash=[6, 4]) if has_legend else None
    return (
        rows("line")
        .mark_line(interpolate=stairs, color=LINE, strokeWidth=2)
        .encode(**position, strokeDash=alt.StrokeDash("kind:N", scale=scale, legend=legend))
    )


def _bars(name: str, channel: str, position: Mapping[str, Any], hovered: alt.Parameter) -> Layer:
    """Return the intervals of one metric that have a length: light, and stronger in focus and under the pointer."""
    low = position[channel].copy(deep=False)
    low["shorthand"] = f"{channel}_low:Q"
    high = {"x2": alt.X2("x_high")} if channel == "x" else {"y2": alt.Y2("y_high")}
    opacity, width = (alt.Opacity("bar_opacity:Q", scale=None), alt.StrokeWidth("bar_px:Q", scale=None))
    if name == "measured":
        opacity = alt.condition(hovered, alt.value(1.0), opacity, empty=False)
        width = alt.condition(hovered, alt.value(2.5), width, empty=False)
    return (
        rows(name)
        .transform_filter(f"datum.{channel}_high > datum.{channel}_low")
        .mark_rule()
        .encode(
            **{**position, channel: low},
            **high,
            color=alt.Color("colour:N", scale=None),
            opacity=opacity,
            strokeWidth=width,
            tooltip=alt.TooltipValue(None),
        )
    )


def _key(kinds: Sequence[str]) -> Layer:
    """Return an invisible layer that adds the legend of filled and hollow marks."""
    colours = [LINE if kind == _MEASURED else "transparent" for kind in kinds]
    scale = alt.Scale(domain=list(kinds), range=colours)
    legend = alt.Legend(symbolType="circle", symbolStrokeColor=LINE, symbolStrokeWidth=1.5, symbolSize=120)
    return rows("kinds").mark_point(size=0, opacity=1).encode(fill=alt.Fill("kind:N", scale=scale, legend=legend))


def _sizes(sizes: MarkSizes) -> Layer:
    """Return an invisible layer that adds the legend of the marks' sizes."""
    texts, diameters = [text for text, _ in sizes.legend], [diameter for _, diameter in sizes.legend]
    scale = alt.Scale(domain=texts, range=[diameter**2 for diameter in diameters])
    legend = alt.Legend(
        title=sizes.title, titleOrient="left", symbolType="circle", symbolFillColor=LINE, symbolStrokeWidth=0
    )
    return (
        rows("sizes")
        .transform_filter("false")
        .mark_point(filled=True, opacity=1, color=LINE)
        .encode(size=alt.Size("kind:O", scale=scale, legend=legend))
    )


def _rules(position: Mapping[str, Any], tooltip: list[alt.Tooltip]) -> Layer:
    """Return the lines of controls, over the whole width."""
    return (
        rows("controls")
        .mark_rule(strokeDash=[2, 4], aria=True)
        .encode(
            y=position["y"],
            color=alt.Color("colour:N", scale=None),
            strokeWidth=alt.StrokeWidth("bar_px:Q", scale=None),
            description=alt.Description("text:N"),
            tooltip=tooltip,
        )
    )


def _leaders(position: Mapping[str, Any]) -> Layer:
    """Return the thin lines from marks to names that have no room beside them."""
    ends = {"x2Offset": {"expr": "datum.dx"}, "y2Offset": {"expr": "datum.dy"}}
    return (
        rows("led")
        .mark_rule(color=LINE, strokeWidth=0.75, opacity=0.7, **ends)
        .encode(**position, x2=alt.X2("x"), y2=alt.Y2("y"))
    )


def _halo(position: Mapping[str, Any]) -> Layer:
    """Return the ring around the method in focus."""
    return (
        rows("focus")
        .transform_calculate(ring="pow(sqrt(datum.size) + 12, 2)")
        .mark_point(shape="circle", stroke=ACCENT, strokeWidth=2.5, fill=ACCENT, fillOpacity=0.12, opacity=1)
        .encode(**position, size=alt.Size("ring:Q", scale=None))
    )


def _marks(
    name: str, position: Mapping[str, Any], tooltip: list[alt.Tooltip], hovered: alt.Parameter | None = None
) -> Layer:
    chart = (
        rows(name)
        .mark_point(opacity=1, fillOpacity=0, aria=True, cursor="pointer" if hovered else "default")
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
    if hovered is None:
        return chart
    chart = chart.encode(fillOpacity=alt.FillOpacity("fill_opacity:Q", scale=None))
    return chart.add_params(alt.selection_point(name=CLICKED, fields=[CELL], toggle=False), hovered)


def _names(name: str, position: Mapping[str, Any], tooltip: list[alt.Tooltip]) -> Layer:
    control = name == "controls"
    return (
        rows(f"named_{name}")
        .mark_text(
            align={"expr": "datum.align"},
            dx={"expr": "datum.dx"},
            dy={"expr": "datum.dy"},
            baseline="middle",
            color=TEXT,
            opacity=0.75 if control else 1.0,
            fontSize=11 if control else 12,
            fontStyle="italic" if name == "published" else "normal",
            fontWeight={"expr": "datum.weight"},
            cursor="default" if name == "published" else "pointer",
            limit=0,
        )
        # Marks with a tooltip receive clicks, too.
        .encode(**position, text=alt.Text("label:N"), tooltip=tooltip)
    )
