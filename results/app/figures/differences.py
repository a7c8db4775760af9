"""Forest plot of a comparison: the tested differences with their intervals, signed towards the better row."""

from __future__ import annotations

import altair as alt

from results.app.figures.spec import TEXT, Rows, Spec, figure, hover, number_axis, rows
from results.app.titles import distinct, one_line
from results.boards.lead_columns import column_name, unit_text
from results.boards.scales import room
from results.comparison.paired import Comparison, Difference
from results.minus_sign import with_minus
from results.pictures.theme import BLUE, GREY, LINE, ORANGE
from results.store.records import grouped

#: Pixels of the names on the left and of the numbers on the right, equal in all panels.
_NAMES_PX, _INTERVAL_PX, _P_PX = 190, 12, 174
#: Top of the headings of the numbers, above the plot.
_HEADINGS_PX = -12


def is_drawn(difference: Difference) -> bool:
    """Return whether a difference is tested and has an interval and a direction."""
    ends = (difference.low, difference.high)
    return difference.p is not None and None not in ends and difference.column.direction != "none"


def difference_figures(comparison: Comparison) -> list[Spec]:
    """Return one plot per unit with one line per tested difference; fractions, in percentage points, come first.

    Points right of zero are in favour of A, for either direction of the metric.
    """
    by_unit = grouped(filter(is_drawn, comparison.differences), lambda difference: difference.column.unit)
    units = sorted(by_unit, key=lambda unit: unit != "fraction")
    return [_panel(comparison, by_unit[unit], with_legend=number == 0) for number, unit in enumerate(units)]


def _panel(comparison: Comparison, differences: list[Difference], *, with_legend: bool) -> Spec:
    a, b = one_line(comparison.a.title), one_line(comparison.b.title)
    # better: (text of the legend, colour, shape)
    styles = {
        "a": (f"{a} is better", BLUE, "triangle-right"),
        "b": (f"{b} is better", ORANGE, "triangle-left"),
        None: ("no significant difference", GREY, "circle"),
    }
    names, colours, shapes = zip(*styles.values(), strict=True)
    values, ends = _values(differences, {better: style[0] for better, style in styles.items()})
    unit = differences[0].column.unit
    unit_name = "percentage points" if unit == "fraction" else unit_text(differences[0].column)
    title = f"in favour of {a}{f' ({unit_name})' if unit_name else ''} →"
    domain = room([0.0, *ends])
    y = alt.Y(
        "metric:N",
        sort=None,
        title=None,
        # Flush, the first label would be four pixels below its line.
        axis=alt.Axis(grid=True, minExtent=_NAMES_PX, maxExtent=_NAMES_PX, labelLimit=_NAMES_PX, labelFlush=False),
    )
    legend = alt.Legend() if with_legend else None
    colour = alt.Color("better:N", scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape("better:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    numbers = {"align": "left", "baseline": "middle", "color": TEXT, "fontSize": 12}
    layers = [
        rows("zero").mark_rule(color=LINE, strokeDash=[2, 3]).encode(x=number_axis(alt.X, "at", title, domain, 6)),
        rows("rows")
        .mark_rule(strokeWidth=2)
        .encode(x=number_axis(alt.X, "low", title, domain, 6), x2=alt.X2("high"), y=y, color=colour),
        rows("rows")
        .mark_point(filled=True, opacity=1, size=130, stroke=LINE, strokeWidth=0.5, aria=True)
        .encode(
            x=number_axis(alt.X, "middle", title, domain, 6),
            y=y,
            color=colour,
            shape=shape,
            description=alt.Description("description:N"),
            tooltip=hover("metric", {"A minus B": "text", "in favour of A": "in_favour", "p after Holm": "p"}),
        ),
        *(
            rows("rows").mark_text(**numbers, dx=dx).encode(x=alt.value("width"), y=y, text=f"{field}:N")
            for field, dx in (("text", _INTERVAL_PX), ("p", _P_PX))
        ),
        *(
            rows(name)
            .mark_text(**numbers, dx=dx, fontWeight="bold")
            .encode(x=alt.value("width"), y=alt.value(_HEADINGS_PX), text="heading:N")
            for name, dx in (("intervals", _INTERVAL_PX), ("p-values", _P_PX))
        ),
    ]
    data: dict[str, Rows] = {"rows": values, "zero": [{"at": 0.0}]}
    if with_legend:
        data |= {"intervals": [{"heading": "A minus B"}], "p-values": [{"heading": "p (Holm)"}]}
    return figure(layers, data, height=(100 if with_legend else 66) + 28 * len(values))


def _values(
    differences: list[Difference], better: dict[str | None, str]
) -> tuple[list[dict[str, object]], list[float]]:
    """Return the rows of a panel, and all ends of its intervals."""
    names = distinct([one_line(column_name(difference.column)) for difference in differences])
    values: list[dict[str, object]] = []
    bounds: list[float] = []
    for name, difference in zip(names, differences, strict=True):
        factor = 100.0 if difference.column.unit == "fraction" else 1.0
        assert difference.low is not None and difference.high is not None
        low, middle, high = (factor * value for value in (difference.low, difference.difference, difference.high))
        digits = _digits(max(abs(low), abs(high)))
        raw = _text(low, middle, high, digits)
        if difference.column.direction == "lower":
            name, (low, middle, high) = f"{name} ↓", (-high, -middle, -low)
        in_favour, p = _text(low, middle, high, digits), p_text(difference.p_holm)
        values.append(
            {"metric": name, "low": low, "middle": middle, "high": high, "better": better[difference.better]}
            # The number is A minus B, as in the sentence and the tables; the position is in favour of A.
            | {"text": raw, "p": p, "in_favour": in_favour}
            | {"description": f"{name}: A minus B {raw}, {p} after Holm, {better[difference.better]}"}
        )
        bounds += [low, high]
    return values, bounds


def _text(low: float, middle: float, high: float, digits: int) -> str:
    low, middle, high = (round(value, digits) + 0.0 for value in (low, middle, high))
    return with_minus(f"{middle:{'+' if middle else ''}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")


def _digits(largest: float) -> int:
    """Return the decimals that give the widest end of an interval three significant digits at most, and one decimal."""
    return 1 if largest >= 1 or largest == 0 else min(4, 2 if largest >= 0.1 else 3 if largest >= 0.01 else 4)


def p_text(p: float | None) -> str:
    """Return a p-value: "p < 0.001", "p = 0.012"; a dash if there is none."""
    return "–" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
