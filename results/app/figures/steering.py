"""Probabilities of classes before and after steering, as pairs of bars, with a line at those with random units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from results.app.figures.spec import Spec, figure, hover, number_axis, rows
from results.app.steering.finding import percent
from results.app.titles import distinct
from results.pictures.theme import ACCENT, GREY, ORANGE
from results.visible_text import names_text

_BEFORE, _AFTER, _CONTROL = "before", "after", "random units"
_COLOURS = {_BEFORE: GREY, _AFTER: ACCENT, _CONTROL: ORANGE}


def steering_figure(classes: Sequence[Mapping[str, Any]]) -> Spec:
    """Return a figure with two bars per class, in the given order.

    Args:
        classes: name, and the probabilities before, after and with random units (control); at least one.
    """
    bars, lines = [], []
    for title, each in zip(distinct([names_text([each["name"]]) for each in classes]), classes, strict=True):
        texts = {
            kind: percent(each[name]) for kind, name in ((_BEFORE, "before"), (_AFTER, "after"), ("control", "control"))
        }
        said = f"{title}: before {texts[_BEFORE]}, after {texts[_AFTER]}, with random units {texts['control']}"
        common = {
            "name": title,
            "zero": 0,
            "description": said,
            **{f"text_{kind}": text for kind, text in texts.items()},
        }
        bars += [{**common, "kind": kind, "share": 100 * each[kind]} for kind in (_BEFORE, _AFTER)]
        lines.append({**common, "kind": _CONTROL, "share": 100 * each["control"]})
    most = max(row["share"] for row in (*bars, *lines))
    x = number_axis(alt.X, "share", "probability (%)", [0, min(100.0, max(1.05 * most, 1.0))], 6)
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=190), scale=alt.Scale(paddingInner=0.3))
    scale = alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    colour = alt.Color("kind:N", scale=scale, sort=None, legend=alt.Legend(symbolType="square"))
    tooltip = hover("name", {"before": "text_before", "after": "text_after", "random units": "text_control"})
    layers = [
        rows("bars")
        .mark_bar(aria=True)
        .encode(
            x=x,
            x2=alt.X2("zero"),
            y=y,
            yOffset=alt.YOffset("kind:N", sort=[_BEFORE, _AFTER]),
            color=colour,
            tooltip=tooltip,
            description=alt.Description("description:N"),
        ),
        rows("lines").mark_tick(thickness=3, height={"band": 1}).encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]
    return figure(layers, {"bars": bars, "lines": lines}, height=90 + 36 * len(classes))
