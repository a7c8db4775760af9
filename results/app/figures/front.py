"""Pareto front: one mark per method, with intervals, its expansion factor as size, and the Pareto line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.app.figures.labels import Named, Place, label_places
from results.app.figures.shapes import shape
from results.app.figures.spec import TEXT, Spec, as_it_is, figure, hover, layer, line_legend, number_axis, room
from results.app.standings import Point
from results.app.theme import LINE, marks
from results.app.titles import axis_title, column_title, one_line, unit_of
from results.boards.board import Column
from results.published.points import Published
from results.published.rows import METHODS

CLICKED = "clicked"
"""Name of the selection: its rows have the field `CELL`."""
CELL = "cell"

_HEIGHT_PX = 510
_FAINT = 0.6
_MEASURED, _PRINTED, _LINE = "measured here", "published, not measured here", "Pareto line"
_Row = dict[str, Any]


def front_figure(points: Sequence[Point], x: Column, y: Column, published: Sequence[Published] = ()) -> Spec:
    """Return the figure; the row of each measured method has one of its cell ids in `CELL`.

    Args:
        points: measured points; the Pareto line uses only these.
        x: the horizontal metric.
        y: the vertical metric.
        published: figures of the paper that have both metrics, drawn hollow.
    """
    styles = marks([point.row.method for point in points])
    measured = [_measured(point, styles[point.row.method].colour, x, y) for point in points]
    for row, point in zip(measured, points, strict=True):
        row["shape"] = shape(styles[point.row.method].symbol)
    printed = [_published(own, x, y) for own in published]
    rows = [*measured, *printed]
    # More horizontal room, for names.
    ranges = [
        room((bound for row in rows for bound in (row[f"{channel}_low"], row[f"{channel}_high"])), share)
        for channel, share in (("x", 0.09), ("y", 0.06))
    ]
    for row, place in zip(rows, _places(rows, ranges), strict=True):
        row |= {"align": place.align, "dx": place.dx, "dy": place.dy}
    position = {"x": number_axis("x", axis_title(x), ranges[0]), "y": number_axis("y", axis_title(y), ranges[1])}
    data = {
        "line": _front_line(points),
        "bars": [bar for row in rows for bar in _bars(row)],
        "across": [end for row in rows for end in _ends(row, "x")],
        "up": [end for row in rows for end in _ends(row, "y")],
        "measured": measured,
        "published": printed,
        # If there are only measured marks, no word for them is needed.
        "kinds": [{"kind": _MEASURED}, {"kind": _PRINTED}] if printed else [],
    }
    colour = as_it_is("colour")
    layers = [
        _line_layer(position, x),
        _key_layer(),
        layer(
            "bars", "rule", position | {"x2": {"field": "x2"}, "y2": {"field": "y2"}, "color": colour}, opacity=_FAINT
        ),
        layer("across", "tick", position | {"color": colour}, orient="vertical", size=7, thickness=1.5, opacity=_FAINT),
        layer("up", "tick", position | {"color": colour}, orient="horizontal", size=7, thickness=1.5, opacity=_FAINT),
        _mark_layer("published", position, _hover("published", x, y)),
        _mark_layer("measured", position, _hover("measured", x, y)),
        _name_layer("published", position, _hover("published", x, y)),
        _name_layer("measured", position, _hover("measured", x, y)),
    ]
    return figure(layers, data, height=_HEIGHT_PX)


def marker_size(factor: float | None) -> float:
    """Return a marker's diameter in pixels: its area grows with the logarithm of the expansion factor."""
    return 12.0 if factor is None or factor <= 1 else min(12.0 * math.sqrt(1 + math.log2(factor)), 40.0)


def _measured(point: Point, colour: str, x: Column, y: Column) -> _Row:
    row = _row(point.row.title, point.factor, colour, {"x": point.x, "y": point.y}, {"x": x, "y": y})
    share = "" if point.share is None else f"{100 * point.share:.0f} % of the draws"
    row |= {
        CELL: point.row.cell_ids[0],
        "outline": TEXT if point.on_front else LINE,
        "outline_px": 2.0 if point.on_front else 0.5,
        "share_says": share,
    }
    if share:
        row["says"] += f", on the front in {share}"
    return row


def _published(own: Published, x: Column, y: Column) -> _Row:
    method = METHODS.get(own.method, own.method)
    mark = marks([method])[method]
    spans = {"x": _span(own, x), "y": _span(own, y)}
    row = _row(own.method, own.expansion_factor, mark.colour, spans, {"x": x, "y": y})
    row["says"] += f", published, not measured here: {own.setting}"
    return row | {
        "shape": shape(mark.symbol),
        "outline": mark.colour,
        "outline_px": 2.0,
        "setting": one_line(own.setting),
    }


def _row(
    name: str,
    factor: float | None,
    colour: str,
    spans: Mapping[str, tuple[float, float, float]],
    columns: Mapping[str, Column],
) -> _Row:
    row: _Row = {
        "name": one_line(name),
        "colour": colour,
        "size": marker_size(factor) ** 2,
        "factor_says": "not measured" if factor is None else f"{factor:.2f}",
    }
    for channel, (mean, low, high) in spans.items():
        row |= {
            channel: float(mean),
            f"{channel}_low": float(min(low, mean)),
            f"{channel}_high": float(max(high, mean)),
            f"{channel}_says": _words(columns[channel], spans[channel]),
        }
    said = (f"{one_line(column_title(columns[channel]))} {row[f'{channel}_says']}" for channel in "yx")
    row["says"] = f"{row['name']}: {', '.join(said)}"
    return row


def _span(own: Published, column: Column) -> tuple[float, float, float]:
    factor = 100.0 if column.unit == "fraction" else 1.0
    value = own.values[column.metric]
    low, high = own.errors.get(column.metric, (value, value))
    return value * factor, low * factor, high * factor


def _words(column: Column, span: tuple[float, float, float]) -> str:
    mean, low, high = (f"{value:.{column.digits}f}" for value in span)
    unit = one_line(unit_of(column))
    return mean + (f" [{low}, {high}]" if span[2] > span[1] else "") + (f" {unit}" if unit else "")


def _places(rows: Sequence[_Row], ranges: Sequence[Sequence[float]]) -> list[Place]:
    named = [
        Named(
            row["name"],
            row["x"],
            row["y"],
            math.sqrt(row["size"]) / 2,
            (row["x_low"], row["x_high"]),
            (row["y_low"], row["y_high"]),
        )
        for row in rows
    ]
    return label_places(named, (ranges[0][0], ranges[0][1]), (ranges[1][0], ranges[1][1]))


def _front_line(points: Sequence[Point]) -> list[_Row]:
    front = sorted(point.x[:1] + point.y[:1] for point in points if point.on_front)
    return [{"x": float(x), "y": float(y)} for x, y in front] if len(front) > 1 else []


def _line_layer(place: Mapping[str, Spec], x: Column) -> Spec:
    # Between two methods of the front, nothing better than the worse of them was observed: a staircase, not a diagonal.
    stairs = "step-before" if x.direction == "higher" else "step-after"
    dash = {
        "datum": _LINE,
        "type": "nominal",
        "scale": {"domain": [_LINE], "range": [[7, 5]]},
        "legend": line_legend() | {"symbolStrokeColor": LINE, "symbolDash": [7, 4]},
    }
    return layer("line", "line", {**place, "strokeDash": dash}, interpolate=stairs, color=LINE, strokeWidth=2.5)


def _bars(row: _Row) -> list[_Row]:
    """Return the lines of a mark's intervals that have a nonzero length."""
    found = []
    for channel in "xy":
        low, high = row[f"{channel}_low"], row[f"{channel}_high"]
        if high > low:
            ends = {"x": row["x"], "x2": row["x"], "y": row["y"], "y2": row["y"]}
            found.append({**ends, channel: low, f"{channel}2": high, "colour": row["colour"]})
    return found


def _ends(row: _Row, channel: str) -> list[_Row]:
    low, high = row[f"{channel}_low"], row[f"{channel}_high"]
    spot = {"x": row["x"], "y": row["y"], "colour": row["colour"]}
    return [{**spot, channel: end} for end in (low, high)] if high > low else []


def _hover(name: str, x: Column, y: Column) -> Spec:
    lines = {column_title(y): "y_says", column_title(x): "x_says", "expansion factor": "factor_says"}
    if name == "published":
        lines["published, not measured here"] = "setting"
    elif "none" not in (x.direction, y.direction):
        lines["on the front in"] = "share_says"
    return hover("name", lines)


def _mark_layer(name: str, place: Mapping[str, Spec], says: Spec) -> Spec:
    own = layer(
        name,
        "point",
        {
            **place,
            "shape": as_it_is("shape"),
            "size": as_it_is("size", "quantitative"),
            "fill": as_it_is("colour"),
            "stroke": as_it_is("outline"),
            "strokeWidth": as_it_is("outline_px", "quantitative"),
            "description": {"field": "says"},
            "tooltip": says,
        },
        opacity=1,
        fillOpacity=0 if name == "published" else 1,
    )
    if name == "measured":
        own["mark"]["cursor"] = "pointer"
        own["params"] = [{"name": CLICKED, "select": {"type": "point", "fields": [CELL], "toggle": False}}]
    return own


def _key_layer() -> Spec:
    """Return an invisible layer that adds the legend of filled and hollow marks."""
    fill = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": [_MEASURED, _PRINTED], "range": [LINE, "transparent"]},
        "legend": {"symbolType": "circle", "symbolStrokeColor": LINE, "symbolStrokeWidth": 2, "symbolSize": 200},
    }
    return layer("kinds", "point", {"fill": fill}, size=0, opacity=1)


def _name_layer(name: str, place: Mapping[str, Spec], says: Spec) -> Spec:
    return layer(
        name,
        "text",
        # Marks with a tooltip receive clicks, too.
        {**place, "text": {"field": "name"}, "tooltip": says},
        align={"expr": "datum.align"},
        dx={"expr": "datum.dx"},
        dy={"expr": "datum.dy"},
        baseline="middle",
        color=TEXT,
        fontSize=12,
        fontStyle="italic" if name == "published" else "normal",
        cursor="default" if name == "published" else "pointer",
        limit=0,
    )
