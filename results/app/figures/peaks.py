"""Distribution of a unit's activation over images."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from results.app.figures.spec import Spec, figure, hover, number_axis, rows
from results.pictures.theme import BLUE, SKY

_HEIGHT_PX = 150


def peaks_figure(counts: Sequence[int], edges: Sequence[float], name: str) -> Spec:
    """Return bars of the number of images by the unit's maximum on them.

    Args:
        counts: images in each bin, ascending.
        edges: of the bins, one more than counts, ascending and above zero; each is a factor of 2^0.5 above the last.
        name: of the unit, for descriptions.
    """
    bins = [
        {"low": low, "high": high, "count": count, "zero": 0, "bin": f"{low:.3g} to {high:.3g}"}
        | {"text": f"{count}", "description": f"{name}, maximum activation {low:.3g} to {high:.3g}: {count} images"}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    scale = alt.Scale(type="log", base=2, domain=[edges[0], edges[-1]], nice=False)
    axis = alt.Axis(format=".2~g", tickCount=6, grid=False, labelOverlap=True)
    title = "maximum activation on an image (logarithmic)"
    y = number_axis(alt.Y, "count", "images", [0, 1.08 * (max(counts, default=0) or 1)], 4)
    layer = (
        rows("bins")
        .mark_bar(color=SKY, stroke=BLUE, strokeWidth=0.5, aria=True)
        .encode(
            x=alt.X("low:Q", title=title, scale=scale, axis=axis),
            x2=alt.X2("high"),
            y=y,
            y2=alt.Y2("zero"),
            description=alt.Description("description:N"),
            tooltip=hover("bin", {"images": "text"}),
        )
    )
    return figure([layer], {"bins": bins}, height=_HEIGHT_PX)
