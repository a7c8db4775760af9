"""Scale of the interval bars of one column: the same ends for every row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

#: A scale begins at 0 if its least value is below this share of the greatest.
_NEAR_ZERO = 0.5

#: As in `board_table.js`, which draws a position beyond the scale as an arrow.
_ROUNDING = 0.001


class BarScale(NamedTuple):
    """Values at the two ends of the bars."""

    low: float
    high: float

    def position(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end; beyond them for a value outside."""
        return (value - self.low) / (self.high - self.low)

    @property
    def zero(self) -> float | None:
        """Position of zero; None if it is not between the ends."""
        return self.position(0.0) if self.low <= 0 <= self.high else None


def is_beyond(position: float) -> bool:
    """Return whether a position is not on the scale; an error of rounding is on it."""
    return not -_ROUNDING <= position <= 1 + _ROUNDING


def bar_scale(values: Iterable[float], most: float = math.inf) -> BarScale | None:
    """Return a scale with round ends that has all finite `values`; None without any.

    Args:
        values: means and ends of the intervals.
        most: largest possible value, which the scale does not exceed unless a value does.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if 0 < low < _NEAR_ZERO * high:
        low = 0.0
    if -_NEAR_ZERO * abs(low) < high < 0:
        high = 0.0
    span = high - low or abs(high) or 1.0
    # A quarter of the smallest number is 0.
    step = 10 ** math.floor(math.log10(span / 4)) if span / 4 > 0 else 0.0
    if not math.isfinite(step) or step <= 0:
        return None
    low, high = math.floor(low / step) * step, max(min(math.ceil(high / step) * step, most), high)
    return BarScale(low, high) if high > low else BarScale(low - step, high + step)
