"""Training curves: one figure per series, one line per cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from results.app.figures.spec import Spec, figure, hover, line_legend, number_axis, rows
from results.app.titles import distinct, one_line
from results.boards.scales import room
from results.pictures.theme import BLUE, GREEN, LINE, ORANGE, PURPLE, SKY, VERMILION

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, LINE)
_TITLES = {
    "loss": "loss, lower is better ↓",
    "training_r2": "R² on the training tokens ↑",
    "l0": "L0 (active units per token)",
    "dead": "share of dead units ↓",
}
_DASHES = ([1, 0], [7, 4], [2, 3], [8, 3, 2, 3])
_HEIGHT_PX = 300


def curve_figures(frame: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Spec]:
    """Return series -> figure, from columns cell_id, series, step, value; `names` gives the title of each cell."""
    # A cell has the same colour in every figure.
    titles = dict(zip(names, distinct([one_line(name) for name in names.values()]), strict=True))
    return {str(series): _curves(part, str(series), titles) for series, part in frame.groupby("series", sort=False)}


def _curves(frame: pd.DataFrame, series: str, titles: Mapping[str, str]) -> Spec:
    values: list[dict[str, Any]] = [
        {"step": float(step), "value": float(value), "name": titles[str(cell)], "text": f"{value:.4g} at step {step:,}"}
        for cell, step, value in zip(frame["cell_id"], frame["step"], frame["value"].astype(float), strict=True)
        if math.isfinite(value)
    ]
    order = list(titles.values())
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(order))]
    dashes = [_DASHES[number % len(_DASHES)] for number in range(len(order))]
    present = {row["name"] for row in values}
    legend = line_legend(columns=2, values=[name for name in order if name in present])
    title = _TITLES.get(series, series.replace("_", " "))
    position = {
        "x": number_axis(alt.X, "step", "optimiser step", room((row["step"] for row in values), 0.02), ticks=6),
        "y": number_axis(alt.Y, "value", title, room(row["value"] for row in values), 5),
    }
    layers = [
        rows("values")
        .mark_line(strokeWidth=1.8)
        .encode(
            **position,
            color=alt.Color("name:N", scale=alt.Scale(domain=order, range=colours), legend=legend),
            strokeDash=alt.StrokeDash("name:N", scale=alt.Scale(domain=order, range=dashes), legend=legend),
        ),
        # Invisible points, for the pointer.
        rows("values")
        .mark_point(filled=True, size=60, opacity=0)
        .encode(**position, tooltip=hover("name", {series.replace("_", " "): "text"})),
    ]
    return figure(layers, {"values": values}, height=_HEIGHT_PX)
