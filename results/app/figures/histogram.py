"""Distribution of a score over units, in shares, so that methods with different numbers of units are comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.app.figures.spec import Spec, figure, hover, layer, line_legend, number_axis
from results.app.theme import Mark
from results.app.titles import distinct, one_line

_HEIGHT_PX = 320


def histogram_figure(
    counts: Mapping[str, Sequence[float]], styles: Mapping[str, Mark], *, low: float, high: float, title: str
) -> Spec:
    """Return step lines over bins of equal width from `low` to `high`.

    Args:
        counts: name -> number of units in each bin; all of one length.
        styles: name -> its mark; the first name is filled, others are dashed lines.
        title: of the horizontal axis, with unit and direction.
    """
    titles = distinct([f"{one_line(name)} ({sum(own):,.0f} units)" for name, own in counts.items()])
    names = dict(zip(counts, titles, strict=True))
    n_bins = len(next(iter(counts.values())))
    width = (high - low) / n_bins
    used = [place for own in counts.values() for place, value in enumerate(own) if value] or [0, n_bins - 1]
    first, last = max(min(used) - 1, 0), min(max(used) + 2, n_bins)
    shares = {name: [100 * value / (sum(own) or 1.0) for value in own] for name, own in counts.items()}
    steps: list[dict[str, Any]] = []
    for name, own in shares.items():
        # Each bin's height is held to its right edge, and the last one drops to zero.
        heights = [*own[first:last], 0.0]
        steps += [
            {"x": low + width * (first + place), "y": height, "name": names[name]}
            for place, height in enumerate(heights)
        ]
    bins = [
        {
            "x": low + width * place,
            "x2": low + width * (place + 1),
            "y": max(own[place] for own in shares.values()),
            "bin_says": f"{low + width * place:.2f} to {low + width * (place + 1):.2f}",
            **{f"share_{number}": f"{own[place]:.1f} % of the units" for number, own in enumerate(shares.values())},
        }
        for place in range(first, last)
    ]
    across = number_axis("x", title, [low + width * first, low + width * last])
    top = max(max(own) for own in shares.values()) or 1.0
    up = number_axis("y", "share of the alive units (%)", [0.0, 1.08 * top], 5) | {"stack": None}
    order = list(names.values())
    colours = [styles[name].colour for name in counts]
    legend = line_legend()
    line = {
        "x": across,
        "y": up,
        "color": {
            "field": "name",
            "type": "nominal",
            "scale": {"domain": order, "range": colours},
            "legend": legend,
        },
        "strokeDash": {
            "field": "name",
            "type": "nominal",
            "scale": {"domain": order, "range": [[1, 0], *[[7, 4]] * (len(order) - 1)]},
            "legend": legend,
        },
    }
    says = {name: f"share_{number}" for number, name in enumerate(names.values())}
    bar = {"x": across, "x2": {"field": "x2"}, "y": up, "tooltip": hover("bin_says", says)}
    layers = [
        layer("filled", "area", {"x": across, "y": up}, interpolate="step-after", color=colours[0], opacity=0.25),
        layer("steps", "line", line, interpolate="step-after", strokeWidth=2),
        # Invisible bars under the pointer.
        layer("bins", "bar", bar, opacity=0),
    ]
    data = {"filled": [row for row in steps if row["name"] == order[0]], "steps": steps, "bins": bins}
    return figure(layers, data, height=_HEIGHT_PX)
