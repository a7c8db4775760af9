"""Distribution of a score over units, in shares, so that methods with different numbers of units are comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from results.app.figures.spec import Spec, figure, hover, line_legend, number_axis, rows
from results.app.titles import distinct, one_line
from results.minus_sign import with_minus
from results.pictures.theme import Mark

_HEIGHT_PX = 320


def histogram_figure(
    counts: Mapping[str, Sequence[float]], styles: Mapping[str, Mark], title: str, *, n_pooled: Mapping[str, int]
) -> Spec:
    """Return step lines over bins of equal width from -1 to 1.

    Args:
        counts: name -> number of units in each bin; all of one length.
        styles: name -> its mark; the first name is filled, others are dashed lines.
        title: of the horizontal axis, with unit and direction.
        n_pooled: name -> number of seeds whose units are counted together; 1 for a missing name.
    """
    names = distinct([f"{one_line(name)} ({_units(sum(n), n_pooled.get(name, 1))})" for name, n in counts.items()])
    # (methods, bins)
    shares = np.array([100 * np.asarray(numbers) / (sum(numbers) or 1.0) for numbers in counts.values()])
    edges = np.linspace(-1.0, 1.0, shares.shape[1] + 1)
    used = np.flatnonzero(shares.any(axis=0))
    first, last = (max(used[0] - 1, 0), min(used[-1] + 2, len(edges) - 1)) if used.size else (0, len(edges) - 1)
    shares, edges = shares[:, first:last], edges[first : last + 1]
    # Each bin's height is held to its right edge, and the last one drops to zero.
    steps = [
        {"x": float(x), "y": float(y), "name": name}
        for name, heights in zip(names, shares, strict=True)
        for x, y in zip(edges, [*heights, 0.0], strict=True)
    ]
    bins = [
        {
            "x": float(left),
            "x2": float(right),
            "y": float(max(heights)),
            "bin": with_minus(f"{left:.2f} to {right:.2f}"),
        }
        | {f"share_{number}": f"{height:.1f} % of the units" for number, height in enumerate(heights)}
        for left, right, heights in zip(edges[:-1], edges[1:], shares.T, strict=True)
    ]
    x = number_axis(alt.X, "x", title, [edges[0], edges[-1]])
    y = number_axis(alt.Y, "y", "share of the alive units (%)", [0.0, 1.08 * (shares.max() or 1.0)], 5).stack(None)
    colours = [styles[name].colour for name in counts]
    dashes = [[1, 0], *[[7, 4]] * (len(names) - 1)]
    layers = [
        rows("filled").mark_area(interpolate="step-after", color=colours[0], opacity=0.25).encode(x=x, y=y),
        rows("steps")
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), legend=line_legend()),
            strokeDash=alt.StrokeDash("name:N", scale=alt.Scale(domain=names, range=dashes), legend=line_legend()),
        ),
        # Invisible bars under the pointer.
        rows("bins")
        .mark_bar(opacity=0)
        .encode(
            x=x,
            x2=alt.X2("x2"),
            y=y,
            tooltip=hover("bin", {name: f"share_{number}" for number, name in enumerate(names)}),
        ),
    ]
    data = {"filled": [row for row in steps if row["name"] == names[0]], "steps": steps, "bins": bins}
    return figure(layers, data, height=_HEIGHT_PX)


def _units(count: float, n_seeds: int) -> str:
    return f"{count:,.0f} units" + (f" of {n_seeds} seeds together" if n_seeds > 1 else "")
