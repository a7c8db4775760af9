"""Classes of a unit's top images beside their share in the whole image set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from results.app.figures.spec import Spec, figure, hover, number_axis, rows
from results.app.titles import distinct
from results.pictures.theme import LINE, SKY

_MOST = 6
_OTHER = "other classes"


def class_figure(classes: Sequence[str], set_counts: Mapping[str, int]) -> Spec | None:
    """Return a bar per class of the top images, with a line at the share of the class in the set; None without classes.

    Args:
        classes: of the top images; "" has no class.
        set_counts: class -> number of its images in the set.
    """
    total, set_total = len(classes), sum(set_counts.values())
    names = sorted(set(classes) - {""}, key=lambda name: (-classes.count(name), classes.index(name)))
    if not names or not set_total:
        return None
    main, others = names[:_MOST], names[_MOST:]
    groups = [(name, [name]) for name in main] + ([(_OTHER, others)] if others else [])
    bars = []
    for title, (_, members) in zip(distinct([name for name, _ in groups]), groups, strict=True):
        count = sum(map(classes.count, members))
        share, expected = 100 * count / total, 100 * sum(set_counts.get(name, 0) for name in members) / set_total
        text = f"{count} of {total} top images ({share:.0f} %)"
        bars.append(
            {"name": title, "share": share, "zero": 0, "base": expected, "text": text, "whole": f"{expected:.1f} %"}
            | {"description": f"{title}: {text}; {expected:.1f} % of the whole set"}
        )
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=150))
    x, base = (
        number_axis(alt.X, field, "top images (%); line: all images", [0, 100], 5) for field in ("share", "base")
    )
    tooltip = hover("name", {"top images": "text", "whole set": "whole"})
    layers = [
        rows("bars")
        .mark_bar(color=SKY, height={"band": 0.7}, aria=True)
        .encode(x=x, x2=alt.X2("zero"), y=y, tooltip=tooltip, description=alt.Description("description:N")),
        rows("bars").mark_tick(color=LINE, thickness=3, height={"band": 0.9}).encode(x=base, y=y, tooltip=tooltip),
    ]
    return figure(layers, {"bars": bars}, height=74 + 26 * len(bars))
