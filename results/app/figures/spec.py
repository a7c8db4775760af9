"""Common parts of the figures, which are Altair charts on named data.

A text of the store is a value in a row or a literal string, never the name of a field and never an expression. So the
name of a method or metric cannot change the drawing. Everything is drawn as SVG, where each mark has a description for
screen readers, and where `TEXT` is the colour of the page's text, light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import altair as alt

from results.app.titles import one_line

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

TEXT = "currentColor"
Layer = Any
"""An `alt.Chart`; the types of its methods are not complete."""

_Axis = TypeVar("_Axis", alt.X, alt.Y)


def figure(layers: Sequence[Layer], data: Mapping[str, Rows], *, height: int) -> Spec:
    """Return the Vega-Lite specification of one plot.

    Args:
        layers: from the lowest to the topmost, each made by `rows`; those without rows are left out.
        data: name -> rows.
        height: of the whole figure in pixels; its width is the page's.
    """
    datasets = {name: list(content) for name, content in data.items() if content}
    # `alt.layer` and its check against the schema would take most of the time of a page.
    context = {"top_level": False}
    # The page's own colour: the theme's grey has too little contrast.
    colours = {"labelColor": TEXT, "titleColor": TEXT}
    sizes = {"labelLimit": 340, "titleLimit": 900, "labelFontSize": 12, "titleFontSize": 13, "titlePadding": 10}
    legends = {"anchor": "start", "direction": "horizontal", "center": True, "margin": 20}
    return {
        "datasets": datasets,
        "layer": [part.to_dict(validate=False, context=dict(context)) for part in layers if part.data.name in datasets],
        "height": height,
        "usermeta": {"embedOptions": {"renderer": "svg"}},
        "config": {
            "axis": {**colours, **sizes},
            "legend": {"labelLimit": 460, "labelFontSize": 13, "orient": "top", "title": None, "padding": 0}
            | {"labelColor": TEXT}
            | {"layout": {"top": legends}},
            # Only marks that ask for a tooltip or a description have one.
            "mark": {"tooltip": None, "aria": False},
        },
    }


def rows(name: str) -> Layer:
    """Return a chart on the rows `name` of the figure."""
    return alt.Chart(alt.NamedData(name))


def number_axis(channel: type[_Axis], field: str, title: str, domain: Sequence[float], ticks: int = 8) -> _Axis:
    """Return the channel of a field of numbers, on a scale from `domain[0]` to `domain[1]`, with about `ticks`."""
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return channel(f"{field}:Q", title=one_line(title), scale=scale, axis=alt.Axis(tickCount=ticks))


def line_legend(**properties: Any) -> alt.Legend:
    """Return a legend whose entries are short lines."""
    return alt.Legend(symbolType="stroke", symbolSize=324, symbolStrokeWidth=2, **properties)


def hover(heading: str, lines: Mapping[str, str]) -> list[alt.Tooltip]:
    """Return a tooltip: the field of its heading, and the title of each line -> its field."""
    # Vega-Lite escapes the quotation marks of a title but not its backslashes. The colon keeps a metric with the name
    # "title" or "image" from being confused with the tooltip's own fields.
    texts = {one_line(title).replace("\\", r"\\") + ":": field for title, field in lines.items()}
    return [alt.Tooltip(f"{field}:N", title=title) for title, field in {"title": heading, **texts}.items()]
