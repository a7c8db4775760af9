"""Paired differences with their intervals, in percentage points, signed towards the better method."""

from __future__ import annotations

from typing import Any

from results.app.figures.spec import Spec, figure, hover, layer, number_axis, room
from results.app.theme import BLUE, GREY, LINE, ORANGE
from results.app.titles import column_title, distinct, one_line
from results.comparison.paired import Comparison, Difference


def difference_figure(comparison: Comparison) -> Spec | None:
    """Return one line per metric that is a fraction and has an interval; None if there is none.

    Points right of zero are in favour of A, for either direction of the metric.
    """
    chosen = [
        own
        for own in comparison.differences
        if own.low is not None
        and own.high is not None
        and own.column.unit == "fraction"
        and own.column.direction != "none"
    ]
    if not chosen:
        return None
    a, b = one_line(comparison.a.title), one_line(comparison.b.title)
    # better: (text of the legend, colour, shape)
    styles = {
        "a": (f"{a} is better", BLUE, "triangle-right"),
        "b": (f"{b} is better", ORANGE, "triangle-left"),
        None: ("not told apart", GREY, "circle"),
    }
    metrics = distinct([one_line(column_title(own.column)) for own in chosen])
    rows: list[dict[str, Any]] = []
    for metric, own in zip(metrics, chosen, strict=True):
        low, middle, high = _favour(own)
        digits = own.column.digits
        says = f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] percentage points"
        rows.append(
            {
                "metric": metric,
                "low": low,
                "middle": middle,
                "high": high,
                "better": styles[own.better][0],
                "says": says,
                "described": f"{metric}: {says} in favour of A, {styles[own.better][0]}",
            }
        )
    present = [style for better, style in styles.items() if any(own.better == better for own in chosen)]
    order = [name for name, _, _ in present]
    domain = room([0.0, *(row[end] for row in rows for end in ("low", "high"))])
    title = f"in favour of A, {a} (percentage points) →"
    up = {
        "field": "metric",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"grid": True, "labelFlush": False},
    }
    colour = {
        "field": "better",
        "type": "nominal",
        "scale": {"domain": order, "range": [own for _, own, _ in present]},
    }
    layers = [
        layer("zero", "rule", {"x": number_axis("at", title, domain)}, color=LINE, strokeDash=[2, 3]),
        layer(
            "rows",
            "rule",
            {"x": number_axis("low", title, domain), "x2": {"field": "high"}, "y": up, "color": colour},
            strokeWidth=2,
        ),
        layer(
            "rows",
            "point",
            {
                "x": number_axis("middle", title, domain),
                "y": up,
                "color": colour,
                "shape": {
                    "field": "better",
                    "type": "nominal",
                    "scale": {"domain": order, "range": [own for _, _, own in present]},
                },
                "description": {"field": "described"},
                "tooltip": hover("metric", {"in favour of A": "says"}),
            },
            filled=True,
            opacity=1,
            size=150,
            stroke=LINE,
            strokeWidth=0.5,
        ),
    ]
    return figure(layers, {"rows": rows, "zero": [{"at": 0.0}]}, height=100 + 32 * len(rows))


def _favour(own: Difference) -> tuple[float, float, float]:
    assert own.low is not None and own.high is not None
    if own.column.direction == "higher":
        return 100 * own.low, 100 * own.difference, 100 * own.high
    return -100 * own.high, -100 * own.difference, -100 * own.low
