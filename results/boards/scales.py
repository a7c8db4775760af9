"""Scales of a figure of two metrics: the range of an axis, linear or logarithmic, and the areas of the marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from results.boards.board import Column
from results.boards.lead_columns import column_name, group_of, unit_text

# Ratio of the largest to the smallest value from which an axis of costs is logarithmic.
_LOG_RATIO = 10.0
_SMALLEST_PX, _LARGEST_PX, _USUAL_PX = 10.0, 26.0, 14.0
# Ratio of the largest to the smallest value between the sizes of their marks, if the values differ less.
_USUAL_RATIO = 16.0


class AxisRange(NamedTuple):
    """Range of an axis in the values of its metric."""

    low: float
    high: float
    is_log: bool = False

    def inside(self, value: float) -> float:
        """Return the value, or the nearest end of the range."""
        return min(max(value, self.low), self.high)

    def linear(self, value: float) -> float:
        """Return the value on a scale on which equal distances are equal on the screen."""
        return math.log10(self.inside(value)) if self.is_log else value

    def between(self, share: float) -> float:
        """Return the value at this share of the axis."""
        low, high = self.linear(self.low), self.linear(self.high)
        position = low + share * (high - low)
        return float(10**position) if self.is_log else position


def axis_range(column: Column, ends: Iterable[float], share: float) -> AxisRange:
    """Return the range that holds `ends`, wider on both sides by `share`; logarithmic for costs that differ a lot."""
    values = [end for end in ends if math.isfinite(end)]
    positive = [value for value in values if value > 0]
    is_cost = group_of(column) == "cost" and column.unit != "fraction"
    if is_cost and len(positive) == len(values) > 0 and max(positive) >= _LOG_RATIO * min(positive):
        low, high = room(map(math.log10, positive), share)
        return AxisRange(10**low, 10**high, True)
    return AxisRange(*room(values, share))


def room(bounds: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """Return the minimum and maximum of `bounds`, extended on both sides by a share of their difference."""
    finite = [bound for bound in bounds if math.isfinite(bound)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    pad = share * (high - low) or 0.05 * abs(low) or 1.0
    return low - pad, high + pad


def log_ticks(span: AxisRange) -> list[float]:
    """Return powers of ten, and with few of them also their double and fivefold."""
    first, last = math.floor(math.log10(span.low)), math.ceil(math.log10(span.high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if span.low <= tick <= span.high]


class MarkSizes(NamedTuple):
    """Diameters of marks for the values of one metric: their areas grow with the logarithm of the value."""

    title: str = ""
    low: float = 1.0
    high: float = 1.0
    legend: tuple[tuple[str, float], ...] = ()
    """text and diameter of the smallest and the largest value"""

    def diameter(self, value: float | None) -> float:
        """Return a diameter in pixels; that of the smallest value for a missing one."""
        if self.high <= self.low:
            return _USUAL_PX
        if value is None or not value > self.low:
            return _SMALLEST_PX
        share = min(math.log(value / self.low) / math.log(self.high / self.low), 1.0)
        return math.sqrt(_SMALLEST_PX**2 + share * (_LARGEST_PX**2 - _SMALLEST_PX**2))


def mark_sizes(column: Column | None, values: Sequence[float]) -> MarkSizes:
    """Return the sizes for the values of a metric in display units; equal sizes without a metric or a difference."""
    positive = sorted(value for value in values if value > 0 and math.isfinite(value))
    if column is None or not positive or positive[0] == positive[-1]:
        return MarkSizes()
    low = min(1.0, positive[0]) if column.metric == "expansion_factor" else positive[0]
    # A small ratio must not look like a large one, and equal expansion factors look the same on all boards.
    high = max(positive[-1], low * _USUAL_RATIO)
    unit = unit_text(column)
    sizes = MarkSizes(f"{column_name(column)}{f' ({unit})' if unit else ''}", low, high)
    entries = ((short_number(value), sizes.diameter(value)) for value in (positive[0], positive[-1]))
    return sizes._replace(legend=tuple(entries))


def short_number(value: float) -> str:
    """Return a number with three significant digits, and without an exponent where it is readable without."""
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.3g}"
    decimals = decimals_of(value)
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimals_of(value: float) -> int:
    """Return the decimals of three significant digits; negative from 1000."""
    rounded = abs(float(f"{value:.3g}"))
    return 2 - math.floor(math.log10(rounded)) if rounded else 0
