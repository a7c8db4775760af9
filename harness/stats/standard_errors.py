"""Standard errors for independent and clustered observations, shared by all metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def clustered_standard_error(values: np.ndarray, clusters: np.ndarray) -> float | None:
    """Return the standard error of the mean of ``values`` (n,) whose errors may correlate within ``clusters`` (n,).

    It is ``sqrt(G / (G - 1) * sum_g (sum_{i in g} (v_i - mean))^2) / n`` for G clusters (Liang and Zeger 1986, with the
    usual small-sample factor). With one value per cluster, this is the usual standard error. It is None for fewer than
    two clusters.
    """
    names, member = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(member, weights=np.asarray(values, dtype=np.float64) - np.mean(values))
    return float(math.sqrt(len(names) / (len(names) - 1) * np.sum(sums**2)) / len(values))


def jackknife_standard_error(left_out: Sequence[float]) -> float | None:
    """Return the standard error from G leave-one-group-out estimates, or None for fewer than two groups."""
    n_groups = len(left_out)
    if n_groups < 2:
        return None
    estimates = np.asarray(left_out, dtype=np.float64)
    return float(np.sqrt((n_groups - 1) / n_groups * np.sum((estimates - estimates.mean()) ** 2)))


def proportion_standard_error(share: float, n: int) -> float | None:
    """Return the half-width of the 68 % Wilson interval of a proportion, or None if ``n`` is 0 or ``share`` is NaN.

    Unlike ``sqrt(p (1 - p) / n)``, it is not 0 for a proportion of 0 or 1.
    """
    if n == 0 or math.isnan(share):
        return None
    return math.sqrt(share * (1 - share) / n + 1 / (4 * n * n)) / (1 + 1 / n)


def standard_error_from_sums(total: float, squares: float, n: int) -> tuple[float, float | None]:
    """Return the mean and its standard error of n observations, from their sum and their sum of squares.

    The mean of no observations is NaN. The standard error is None for fewer than two.
    """
    if n == 0:
        return math.nan, None
    mean = total / n
    if n < 2:
        return mean, None
    return mean, math.sqrt(max(squares / n - mean**2, 0.0) / (n - 1))
