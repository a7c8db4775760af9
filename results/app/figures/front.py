"""The Pareto front: one mark a method, with intervals, its expansion factor as size, and the line nobody beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from results.app.design import LINE, Mark, marks
from results.app.figures.labels import label_places
from results.app.standings import Point
from results.app.words import axis_title, figure_text, unit_of
from results.board import Column
from results.paper_points import Published
from results.published_rows import METHODS


def front_figure(
    points: Sequence[Point],
    x: Column,
    y: Column,
    published: Sequence[Published] = (),
) -> go.Figure:
    """Return the figure; each mark of a measured method carries one of its cell ids as customdata.

    Args:
        points: measured; from them alone comes the Pareto line.
        x: the horizontal metric.
        y: the vertical metric.
        published: figures of the paper that have both metrics, drawn hollow.
    """
    figure = go.Figure()
    if line := _front_line(points, x):
        figure.add_trace(line)
    styles = marks([point.row.method for point in points])
    places = label_places(
        [point.row.title for point in points],
        [(point.x[0], point.y[0]) for point in points],
        _range([bound for point in points for bound in point.x]),
        _range([bound for point in points for bound in point.y]),
    )
    for point, place in zip(points, places, strict=True):
        figure.add_trace(_measured(point, styles[point.row.method], x, y, place))
    for number, own in enumerate(published):
        figure.add_trace(_published(own, x, y, first=number == 0))
    figure.update_xaxes(title=figure_text(axis_title(x)), zeroline=False)
    figure.update_yaxes(title=figure_text(axis_title(y)), zeroline=False)
    figure.update_layout(
        height=560,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="closest",
        clickmode="event+select",
        dragmode="pan",
    )
    return figure


def marker_size(factor: float | None) -> float:
    """Return a marker's diameter in pixels: its area grows with the logarithm of the expansion factor."""
    return 12.0 if factor is None or factor <= 1 else min(12.0 * math.sqrt(1 + math.log2(factor)), 40.0)


def _measured(point: Point, mark: Mark, x: Column, y: Column, place: str) -> go.Scatter:
    title = figure_text(point.row.title)
    lines = [f"<b>{title}</b>", _hover(x, point.x), _hover(y, point.y)]
    if point.factor is not None:
        lines.append(f"expansion factor {point.factor:.2f}")
    if point.share is not None:
        lines.append(f"on the front in {point.share:.0%} of the draws")
    return go.Scatter(
        x=[point.x[0]],
        y=[point.y[0]],
        error_x=_error_bar(point.x, mark),
        error_y=_error_bar(point.y, mark),
        mode="markers+text",
        name=title,
        text=[title],
        textposition=place,
        cliponaxis=False,
        marker={
            "symbol": mark.symbol,
            "size": marker_size(point.factor),
            "color": mark.colour,
            "line": {"width": 1.5 if point.on_front else 0.5, "color": LINE},
        },
        # A click must not make the others fade: the page is left anyway.
        unselected={"marker": {"opacity": 1}},
        selected={"marker": {"opacity": 1}},
        customdata=[point.row.cell_ids[0]],
        hovertemplate="<br>".join(lines) + "<br><i>click to open</i><extra></extra>",
    )


def _published(own: Published, x: Column, y: Column, *, first: bool) -> go.Scatter:
    method = METHODS.get(own.method, own.method)
    mark = marks([method])[method]
    name = figure_text(own.method)
    spans = [_span(own, column) for column in (x, y)]
    return go.Scatter(
        x=[spans[0][0]],
        y=[spans[1][0]],
        error_x=_error_bar(spans[0], mark),
        error_y=_error_bar(spans[1], mark),
        mode="markers+text",
        name=f"{name} (published)",
        legendgroup="published",
        legendgrouptitle={"text": "published"} if first else None,
        text=[f"<i>{name}</i>"],
        textposition="bottom left",
        cliponaxis=False,
        marker={
            "symbol": f"{mark.symbol}-open",
            "size": marker_size(own.expansion_factor),
            "color": mark.colour,
            "line": {"width": 2},
        },
        hovertemplate=f"<b>{name}</b>, published, not measured here<br>{figure_text(own.setting)}<br>"
        f"{_hover(x, spans[0])}<br>{_hover(y, spans[1])}<extra></extra>",
    )


def _span(own: Published, column: Column) -> tuple[float, float, float]:
    factor = 100.0 if column.unit == "fraction" else 1.0
    value = own.values[column.metric]
    low, high = own.errors.get(column.metric, (value, value))
    return value * factor, low * factor, high * factor


def _front_line(points: Sequence[Point], x: Column) -> go.Scatter | None:
    front = sorted(point.x[:1] + point.y[:1] for point in points if point.on_front)
    if len(front) < 2:
        return None
    return go.Scatter(
        x=[own[0] for own in front],
        y=[own[1] for own in front],
        mode="lines",
        name="Pareto line",
        # Between two methods of the front nothing better than the worse of them was seen: a staircase, no diagonal.
        line={"shape": "vh" if x.direction == "higher" else "hv", "color": LINE, "width": 2.5, "dash": "dash"},
        hoverinfo="skip",
    )


def _error_bar(span: tuple[float, float, float], mark: Mark) -> Mapping[str, Any]:
    mean, low, high = span
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - mean, 0.0)],
        "arrayminus": [max(mean - low, 0.0)],
        # Fainter than the marks: intervals of several methods lie on one another.
        "color": _faint(mark.colour),
        "thickness": 1.5,
        "width": 4,
        "visible": high > low,
    }


def _range(bounds: Sequence[float]) -> tuple[float, float]:
    known = [bound for bound in bounds if math.isfinite(bound)]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.55)"


def _hover(column: Column, span: tuple[float, float, float]) -> str:
    mean, low, high = span
    unit = f" {unit_of(column)}" if unit_of(column) else ""
    interval = f" [{low:.{column.digits}f}, {high:.{column.digits}f}]" if high > low else ""
    return figure_text(f"{axis_title(column).split(' (')[0].split(',')[0]} {mean:.{column.digits}f}{interval}{unit}")
