"""Ratio of two networks' times, with its interval."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

#: Half-width of the 95 % interval of a normal distribution, in standard errors.
Z = NormalDist().inv_cdf(0.975)


class Median(NamedTuple):
    """Median with an interval from order statistics."""

    value: float
    low: float | None
    """lower end of the 95 % interval; None for fewer than six values"""
    high: float | None
    standard_error: float | None
    """half of the interval's width over 1.96: the standard error of a normal estimate with the same interval"""
    n: int


def median(values: np.ndarray) -> Median:
    """Return the median of values (n,), with its distribution-free 95 % interval.

    The interval is ``[x_(j), x_(n+1-j)]`` for the largest j with ``2 P(Binomial(n, 1/2) < j) <= 0.05``. It covers the
    median for any distribution, and a few batches slowed down by other processes do not move it. The median of no
    values is NaN.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    j = order_of(n)
    if j == 0:
        return Median(float(np.median(ordered)) if n else math.nan, None, None, None, n)
    low, high = float(ordered[j - 1]), float(ordered[n - j])
    return Median(float(np.median(ordered)), low, high, (high - low) / (2 * Z), n)


def order_of(n: int) -> int:
    """Return the j of :func:`median`; 0 if no interval reaches 95 %."""
    below, j = 0, 0
    # In integers, and therefore exact: 2 * (sum of binomials) / 2^n <= 1 / 20.
    while j < n // 2 and 40 * (below + math.comb(n, j)) <= 2**n:
        below += math.comb(n, j)
        j += 1
    return j


def paired_ratio(reference: np.ndarray, variant: np.ndarray) -> Median:
    """Return the median of ``variant_i / reference_i`` over pairs (n,): 1 means no cost, 2 means half as fast."""
    return median(np.asarray(variant, dtype=np.float64) / np.asarray(reference, dtype=np.float64))
