"""Common parts of the figures: Vega-Lite specifications as dictionaries, separate from the data.

A text of the store is a value in a row or a literal string, never the name of a field and never an expression. So the
name of a method or metric cannot change the drawing. Everything is drawn as SVG, where each mark has a description for
screen readers, and where `TEXT` is the colour of the page's text, light or dark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.app.titles import one_line

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

TEXT = "currentColor"


def figure(layers: Sequence[Spec], data: Mapping[str, Rows], *, height: int) -> Spec:
    """Return the specification of one plot.

    Args:
        layers: from the lowest to the topmost, each of which names one of `data`; those of an empty one are left out.
        data: name -> rows.
        height: of the whole figure in pixels; its width is the page's.
    """
    known = {name: list(rows) for name, rows in data.items() if rows}
    return {
        "datasets": known,
        "layer": [own for own in layers if "data" not in own or own["data"]["name"] in known],
        "height": height,
        "usermeta": {"embedOptions": {"renderer": "svg"}},
        "config": {
            "axis": {
                "labelLimit": 340,
                "titleLimit": 900,
                "labelFontSize": 12,
                "titleFontSize": 13,
                "titlePadding": 10,
            },
            "legend": {
                "labelLimit": 460,
                "labelFontSize": 13,
                "orient": "top",
                "title": None,
                "padding": 0,
                "layout": {"top": {"anchor": "start", "direction": "horizontal", "center": True, "margin": 20}},
            },
        },
    }


def layer(name: str, mark: str, encoding: Mapping[str, Any], **properties: Any) -> Spec:
    """Return a layer on the rows `name`; marks without a description are hidden from screen readers."""
    properties = {"tooltip": None, "aria": "description" in encoding} | properties
    return {"data": {"name": name}, "mark": {"type": mark, **properties}, "encoding": dict(encoding)}


def number_axis(field: str, title: str, domain: Sequence[float], ticks: int = 8) -> Spec:
    """Return the encoding of a field of numbers, on a scale from `domain[0]` to `domain[1]`, with about `ticks`."""
    return {
        "field": field,
        "type": "quantitative",
        "title": one_line(title),
        "scale": {"domain": list(domain), "nice": False, "zero": False},
        "axis": {"tickCount": ticks},
    }


def as_it_is(field: str, kind: str = "nominal") -> Spec:
    """Return the encoding of a field that holds the drawn value itself: a colour, a shape, a width."""
    return {"field": field, "type": kind, "scale": None}


def line_legend(columns: int = 0) -> Spec:
    """Return a legend whose entries are short lines, `columns` per row; 0: all in one row."""
    return {"symbolType": "stroke", "symbolSize": 324, "symbolStrokeWidth": 2, "columns": columns}


def hover(heading: str, lines: Mapping[str, str]) -> Spec:
    """Return the encoding of a tooltip: the field of its heading, and the title of each line -> its field."""
    # A name quoted as JSON is a string in Vega's expressions for any content. The colon keeps a metric with the name
    # "title" or "image" from being confused with the tooltip's own fields.
    parts = [f'"title": datum.{heading}']
    parts += [f"{json.dumps(one_line(name) + ':')}: datum.{field}" for name, field in lines.items()]
    return {"value": {"expr": "{" + ", ".join(parts) + "}"}}


def room(bounds: Iterable[float], share: float = 0.06) -> list[float]:
    """Return the minimum and maximum of `bounds`, extended on both sides by a share of their difference."""
    known = [bound for bound in bounds if math.isfinite(bound)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = share * (high - low) or 0.05 * abs(low) or 1.0
    return [low - pad, high + pad]
