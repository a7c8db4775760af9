"""How fits went: one panel a series, one line a cell."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.app.design import BLUE, GREEN, LINE, ORANGE, PURPLE, SKY, VERMILLION
from results.app.words import figure_text

_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, LINE)
_TITLES = {
    "loss": "loss, lower is better ↓",
    "training_r2": "R² on the training tokens ↑",
    "l0": "L0 (units a token)",
    "dead": "share of dead units ↓",
}
_DASHES = ("solid", "dash", "dot", "dashdot")


def curve_figure(frame: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """Return the figure of columns cell_id, series, step, value; `names` says what to call each cell."""
    series = list(dict.fromkeys(frame["series"]))
    columns = min(len(series), 2)
    rows = -(-len(series) // columns)
    figure = make_subplots(rows=rows, cols=columns, shared_xaxes=False, vertical_spacing=0.35 / rows)
    for number, name in enumerate(series):
        row, column = number // columns + 1, number % columns + 1
        present = {str(cell): own for cell, own in frame[frame["series"] == name].groupby("cell_id", sort=True)}
        for cell_id, own in ((cell, present[cell]) for cell in names if cell in present):
            # Its place among all cells, so that a cell keeps its colour in every panel.
            index = list(names).index(str(cell_id))
            figure.add_trace(
                go.Scatter(
                    x=own["step"],
                    y=own["value"].astype(float),
                    mode="lines",
                    name=figure_text(names[str(cell_id)]),
                    legendgroup=str(cell_id),
                    showlegend=number == 0,
                    line={
                        "color": _COLOURS[index % len(_COLOURS)],
                        "dash": _DASHES[index % len(_DASHES)],
                        "width": 1.8,
                    },
                ),
                row=row,
                col=column,
            )
        figure.update_xaxes(title="optimiser step", row=row, col=column)
        figure.update_yaxes(title=figure_text(_TITLES.get(name, name.replace("_", " "))), row=row, col=column)
    figure.update_layout(
        height=300 * rows,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02},
    )
    return figure
