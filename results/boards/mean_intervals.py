"""Confidence intervals of a mean of a board, and of the difference of two, from their known errors.

A mean over n seeds has up to two errors: that of the seeds, ``s / sqrt(n)`` with n - 1 degrees of freedom, and the
standard error within a cell (units, images), whose degrees of freedom are taken as infinite. Their variances are added.
The interval uses Student's t with the degrees of freedom of Welch and Satterthwaite, ::

    nu = (sum_i v_i)^2 / sum_i (v_i^2 / nu_i)

over the variances v_i with nu_i degrees of freedom. F. E. Satterthwaite, Biometrics Bulletin 2 (1946); B. L. Welch,
Biometrika 34 (1947).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from results.boards.board import Aggregate


class Variance(NamedTuple):
    """Estimated variance of a mean, and its degrees of freedom."""

    value: float
    freedom: float


def seed_variance(aggregate: Aggregate) -> list[Variance]:
    """Return the variance of the mean over seeds; nothing for one seed."""
    return [Variance(error**2, freedom) for error, freedom in [aggregate.mean_error or (0.0, 0)] if freedom]


def cell_variance(aggregate: Aggregate) -> list[Variance]:
    """Return the variance within a cell; nothing if it is not known."""
    return [] if aggregate.standard_error is None else [Variance(aggregate.standard_error**2, math.inf)]


def reach(variances: list[Variance], level: float = 0.95) -> float:
    """Return half the width of the interval of a mean whose error has these independent parts; 0 for none."""
    from scipy.special import stdtrit  # imported here: boards without intervals do not need SciPy

    total = sum(variance.value for variance in variances)
    if total <= 0:
        return 0.0
    # Divided by the total first: the square of a small variance may be 0.
    uncertainty = sum((variance.value / total) ** 2 / variance.freedom for variance in variances)
    freedom = min(1 / uncertainty if uncertainty > 0 else math.inf, 1e9)
    return float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(total)


def confidence_interval(aggregate: Aggregate, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of a mean; that of a pooled value is its own. None if no error is known.

    For one seed it is over the units or images of that seed alone. The interval of a fraction ends at 1.
    """
    if aggregate.interval is not None:
        return aggregate.interval
    if aggregate.total_error is None:
        return None
    half = reach(seed_variance(aggregate) + cell_variance(aggregate), level)
    highest = max(1.0, aggregate.mean) if aggregate.unit == "fraction" else math.inf
    return aggregate.mean - half, min(aggregate.mean + half, highest)
