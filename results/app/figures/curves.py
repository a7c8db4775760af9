"""Training curves: one figure per series, one line per cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.app.figures.spec import Spec, figure, hover, layer, line_legend, number_axis, room
from results.app.theme import BLUE, GREEN, LINE, ORANGE, PURPLE, SKY, VERMILION
from results.app.titles import distinct, one_line

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, LINE)
_TITLES = {
    "loss": "loss, lower is better ↓",
    "training_r2": "R² on the training tokens ↑",
    "l0": "L0 (units a token)",
    "dead": "share of dead units ↓",
}
_DASHES = ([1, 0], [7, 4], [2, 3], [8, 3, 2, 3])
_HEIGHT_PX = 300


def curve_figures(frame: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Spec]:
    """Return series -> figure, from columns cell_id, series, step, value; `names` gives the title of each cell."""
    # A cell has the same colour in every figure.
    titles = dict(zip(names, distinct([one_line(name) for name in names.values()]), strict=True))
    return {str(series): _curves(own, str(series), titles) for series, own in frame.groupby("series", sort=False)}


def _curves(frame: pd.DataFrame, series: str, titles: Mapping[str, str]) -> Spec:
    rows: list[dict[str, Any]] = [
        {"step": float(step), "value": float(value), "name": titles[str(cell)], "says": f"{value:.4g} at step {step:,}"}
        for cell, step, value in zip(frame["cell_id"], frame["step"], frame["value"].astype(float), strict=True)
        if math.isfinite(value)
    ]
    order = list(titles.values())
    styles = {
        "color": [_COLOURS[number % len(_COLOURS)] for number in range(len(order))],
        "strokeDash": [_DASHES[number % len(_DASHES)] for number in range(len(order))],
    }
    shown = [name for name in order if any(row["name"] == name for row in rows)]
    place = {
        "x": number_axis("step", "optimiser step", room((row["step"] for row in rows), 0.02), ticks=6),
        "y": number_axis("value", _TITLES.get(series, series.replace("_", " ")), room(row["value"] for row in rows), 5),
    }
    line = place | {
        channel: {
            "field": "name",
            "type": "nominal",
            "scale": {"domain": order, "range": values},
            "legend": line_legend(columns=2) | {"values": shown},
        }
        for channel, values in styles.items()
    }
    says = {series.replace("_", " "): "says"}
    layers = [
        layer("values", "line", line, strokeWidth=1.8),
        # Invisible points, for the pointer.
        layer("values", "point", place | {"tooltip": hover("name", says)}, filled=True, size=60, opacity=0),
    ]
    return figure(layers, {"values": rows}, height=_HEIGHT_PX)
