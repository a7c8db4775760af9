"""Paired differences with their intervals, in percentage points, signed towards the better method."""

from __future__ import annotations

import altair as alt

from results.app.figures.spec import Spec, figure, hover, number_axis, room, rows
from results.app.theme import BLUE, GREY, LINE, ORANGE
from results.app.titles import distinct, one_line
from results.boards.lead_columns import column_name
from results.comparison.paired import Comparison, Difference


def difference_figure(comparison: Comparison) -> Spec | None:
    """Return one line per metric that is a fraction and has an interval; None if there is none.

    A metric that is tested as another one is left out: that one has the result. Points right of zero are in favour of
    A, for either direction of the metric.
    """
    differences = [
        (difference, favour)
        for difference in comparison.differences
        if difference.tested_as is None
        and difference.column.unit == "fraction"
        and (favour := _favour(difference)) is not None
    ]
    if not differences:
        return None
    a, b = one_line(comparison.a.title_with_flags), one_line(comparison.b.title_with_flags)
    # better: (text of the legend, colour, shape)
    styles = {
        "a": (f"{a} is better", BLUE, "triangle-right"),
        "b": (f"{b} is better", ORANGE, "triangle-left"),
        None: ("no significant difference", GREY, "circle"),
    }
    metrics = distinct([one_line(column_name(difference.column)) for difference, _ in differences])
    values = []
    for metric, (difference, (low, middle, high)) in zip(metrics, differences, strict=True):
        digits, better = difference.column.digits, styles[difference.better][0]
        text = f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] percentage points"
        values.append(
            {"metric": metric, "low": low, "middle": middle, "high": high, "better": better, "text": text}
            | {"description": f"{metric}: {text} in favour of A, {better}"}
        )
    present = {difference.better for difference, _ in differences}
    names, colours, shapes = zip(*(style for better, style in styles.items() if better in present), strict=True)
    domain = room([0.0, *(end for _, (low, _, high) in differences for end in (low, high))])
    title = f"in favour of A, {a} (percentage points) →"
    y = alt.Y("metric:N", sort=None, title=None, axis=alt.Axis(grid=True, labelFlush=False))
    colour = alt.Color("better:N", scale=alt.Scale(domain=names, range=colours))
    layers = [
        rows("zero").mark_rule(color=LINE, strokeDash=[2, 3]).encode(x=number_axis(alt.X, "at", title, domain)),
        rows("rows")
        .mark_rule(strokeWidth=2)
        .encode(x=number_axis(alt.X, "low", title, domain), x2=alt.X2("high"), y=y, color=colour),
        rows("rows")
        .mark_point(filled=True, opacity=1, size=150, stroke=LINE, strokeWidth=0.5, aria=True)
        .encode(
            x=number_axis(alt.X, "middle", title, domain),
            y=y,
            color=colour,
            shape=alt.Shape("better:N", scale=alt.Scale(domain=names, range=shapes)),
            description=alt.Description("description:N"),
            tooltip=hover("metric", {"in favour of A": "text"}),
        ),
    ]
    return figure(layers, {"rows": values, "zero": [{"at": 0.0}]}, height=100 + 32 * len(values))


def _favour(difference: Difference) -> tuple[float, float, float] | None:
    """Return low, middle and high in favour of A; None if they are not known or the metric has no direction."""
    low, high = difference.low, difference.high
    if low is None or high is None or difference.column.direction == "none":
        return None
    if difference.column.direction == "higher":
        return 100 * low, 100 * difference.difference, 100 * high
    return -100 * high, -100 * difference.difference, -100 * low
