"""Intervals and p-values of a paired difference, based on exchangeable units only; equations in docs/comparing.md.

Needs only NumPy and `scipy.special`. Every draw follows from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

# Number of elements of one block of resampling weights; bounds the memory for any number of units.
_CHUNK = 4_000_000

#: Share of the units' part of the variance between groups up to which their spread is attributed to the units. At .8
#: an interval of three groups covers 93 to 97 % whatever the true variance between them is (0 to 1000 times the
#: units'). A variance from two groups is often small by chance, so less is attributed to the units, and the interval
#: of two groups covers 94 to 98 %. `benchmarks/interval_coverage.py` prints both.
UNITS_EXPLAIN, UNITS_EXPLAIN_TWO = 0.8, 0.2


class Block(NamedTuple):
    """Clusters that are resampled together: G clusters of K means.

    A mean (a slot) belongs to one side in one pair of seeds; a cluster adds to each its sum and its count.
    """

    sums: np.ndarray
    """(G, K)"""
    counts: np.ndarray
    """(G, K) number of units in each sum"""
    side: np.ndarray
    """(K,) +1 for A, -1 for B"""
    seed: np.ndarray
    """(K,) index of the pair of seeds, 0 to T - 1"""
    least_error: float = 0.0
    """Standard error that is added to the difference of two shares: see `image_pairs`"""


class Interval(NamedTuple):
    """Interval and p-value of a difference; None if they cannot be estimated."""

    low: float | None
    high: float | None
    p: float | None


def student(differences: np.ndarray, level: float) -> Interval:
    """Return Student's t interval of T differences, one per pair of seeds: exact for the mean of normal values.

    A bootstrap of three numbers has ten distinct resamples and far less than its nominal coverage, so it is not used
    here. Without variation (T < 2, or all differences equal and not zero) the seeds give no information on the error:
    None.
    """
    n = len(differences)
    mean = float(np.mean(differences)) if n else 0.0
    if n and not np.any(differences):
        return Interval(0.0, 0.0, 1.0)
    spread = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    # Differences that are equal up to rounding count as no variation: t would be astronomically large.
    if spread <= 1e-12 * max(abs(mean), 1e-300):
        return Interval(None, None, None)
    error = spread / np.sqrt(n)
    reach = float(stdtrit(n - 1, 0.5 + level / 2)) * error
    return Interval(mean - reach, mean + reach, float(2 * stdtr(n - 1, -abs(mean) / error)))


def clustered(
    blocks: Sequence[Block], n_seeds: int, *, level: float, n_resamples: int, generator: np.random.Generator
) -> tuple[float, Interval]:
    """Return the difference of two means over units, averaged over T pairs of seeds, with its interval.

    Each block's clusters are resampled with replacement (G - 1 of G: Rao and Wu, 1988, without which the variance is
    too small by that factor), and the resamples are spread by the ratio of Student's quantile with G - 1 degrees of
    freedom to the normal one (Hesterberg, 2015), which only matters for few clusters. To each resample the variation of
    the pairs of seeds beyond their units is added (`add_between_variance`).

    Returns:
        mean over the seeds of A's mean minus B's, and its percentile interval and two-sided p. They are None if a block
        has a single cluster, whose spread is unknown, and the sides differ in a pair of seeds.
    """
    sums, counts = _totals(blocks, n_seeds, None)
    per_seed = _difference(sums, counts)
    estimate = float(per_seed.mean())
    if min(len(block.sums) for block in blocks) < 2 and per_seed.any():
        return estimate, Interval(None, None, None)
    replicates = _redrawn(blocks, n_seeds, n_resamples, generator).mean(axis=1)
    influences = [influences_of(block, n_seeds, counts, sums) for block in blocks]
    replicates = estimate + _few_clusters(influences, level) * (replicates - estimate)
    if least_error := math.sqrt(sum(block.least_error**2 for block in blocks)):
        replicates = replicates + least_error * generator.standard_normal(len(replicates))
    if n_seeds > 1:
        between = float(np.var(per_seed, ddof=1)) / n_seeds
        within = _unit_variance(blocks, influences)
        replicates = add_between_variance(replicates, between, within, n_seeds - 1, generator)
    return estimate, _percentiles(replicates, estimate, level)


def with_sampling_error(
    differences: np.ndarray, error: float, *, level: float, n_resamples: int, generator: np.random.Generator
) -> Interval:
    """Return the interval of the mean of T >= 1 differences from their spread and a standard error within the cells.

    The error is normal and common to all pairs of seeds, so that more seeds do not reduce it; Student's t over the
    seeds is added. The interval is too wide if the seeds' spread includes part of that error.
    """
    estimate, n = float(np.mean(differences)), len(differences)
    replicates = estimate + error * generator.standard_normal(n_resamples)
    if n > 1:
        between = float(np.var(differences, ddof=1)) / n
        replicates = add_between_variance(replicates, between, 0.0, n - 1, generator)
    return _percentiles(replicates, estimate, level)


def _percentiles(replicates: np.ndarray, estimate: float, level: float) -> Interval:
    """Return the percentile interval of replicates (R,), which contains the estimate, and the two-sided p."""
    replicates = replicates[np.isfinite(replicates)]
    if not len(replicates) or (not np.ptp(replicates) and estimate):
        return Interval(None, None, None)
    low, high = np.quantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    below, above = int((replicates <= 0).sum()), int((replicates >= 0).sum())
    p = min(1.0, 2 * (1 + min(below, above)) / (len(replicates) + 1))
    return Interval(min(float(low), estimate), max(float(high), estimate), p)


def _few_clusters(influences: Sequence[np.ndarray], level: float) -> float:
    """Return the ratio of Student's to the normal quantile, with the degrees of freedom of Welch and Satterthwaite."""
    sizes = np.array([len(influence) for influence in influences if len(influence) > 1])
    variances = np.array(
        [float((influence.mean(axis=1) ** 2).sum()) for influence in influences if len(influence) > 1]
    ) * (sizes / (sizes - 1))
    if not variances.sum() > 0:
        return 1.0
    freedom = variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum()
    return float(stdtrit(freedom, 0.5 + level / 2) / ndtri(0.5 + level / 2))


def add_between_variance(
    replicates: np.ndarray, between: float, within: float, freedom: int, generator: np.random.Generator
) -> np.ndarray:
    """Add to bootstrap replicates (R,) of a mean over groups the variation of the groups beyond that of their units.

    ``between`` estimates the variance of the mean from the values of the groups, and ``within`` is the part of the
    replicates' variance that differs between the groups by their units alone. If ``between`` is at most
    :data:`UNITS_EXPLAIN` times ``within``, the units explain the spread of the groups, and the replicates stay as they
    are. Otherwise their part ``within`` is replaced by ``max(between, within)``, with Student's distribution: a few
    groups determine their own spread poorly. docs/comparing.md gives the coverage.

    Args:
        replicates: means over resampled units.
        between: variance of the mean, estimated from the values of the groups.
        within: part of `between` that is due to units, which the replicates have already.
        freedom: degrees of freedom of `between`.
        generator: source of the draws.
    """
    if between <= (UNITS_EXPLAIN if freedom > 1 else UNITS_EXPLAIN_TWO) * within:
        return replicates
    variance, centre = float(np.nanvar(replicates)), float(np.nanmean(replicates))
    remaining = max(0.0, 1 - within / variance) if variance > 0 else 0.0
    spread = np.sqrt(max(between, within)) * generator.standard_t(freedom, len(replicates))
    total: np.ndarray = centre + np.sqrt(remaining) * (replicates - centre) + spread
    return total


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values with Holm's step-down correction.

    The i-th smallest of m p-values is multiplied by (m - i + 1), made monotone, and is at most 1.

    None (not tested) stays None and is not counted in m. S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    tested = [(p, index) for index, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(tested)):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[index] = largest
    return corrected


def _totals(
    blocks: Sequence[Block], n_seeds: int, weights: Sequence[np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (R, 2, T) sums and counts of A and B; R = 1 without weights, else weights[b] is (R, G_b)."""
    n = 1 if weights is None else len(weights[0])
    sums, counts = np.zeros((n, 2, n_seeds)), np.zeros((n, 2, n_seeds))
    for number, block in enumerate(blocks):
        weight = np.ones((1, len(block.sums))) if weights is None else weights[number]
        side = (block.side < 0).astype(int)
        total, count = weight @ block.sums, weight @ block.counts
        for slot in range(len(side)):
            sums[:, side[slot], block.seed[slot]] += total[:, slot]
            counts[:, side[slot], block.seed[slot]] += count[:, slot]
    return sums, counts


def _difference(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (R, T): A's mean minus B's; NaN if a resample drew no unit of one."""
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    difference: np.ndarray = means[:, 0] - means[:, 1]
    return difference


def _redrawn(blocks: Sequence[Block], n_seeds: int, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Return (R, T) differences of resampled clusters."""
    largest = max(len(block.sums) for block in blocks)
    step = max(1, min(n_resamples, _CHUNK // max(largest, 1)))
    parts = []
    for start in range(0, n_resamples, step):
        n = min(step, n_resamples - start)
        weights = [_weights(len(block.sums), n, generator) for block in blocks]
        parts.append(_difference(*_totals(blocks, n_seeds, weights)))
    return np.concatenate(parts)


def _weights(size: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """Return (n, size): the count of each of `size` clusters among size - 1 drawn. A single cluster is always drawn."""
    if size == 1:
        return np.ones((n, 1))
    drawn = generator.integers(0, size, (n, size - 1))
    drawn += np.arange(n)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=n * size).reshape(n, size).astype(np.float64)


def influences_of(block: Block, n_seeds: int, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the (G, T) influence of each cluster on the difference in each pair of seeds, linearised."""
    influence = np.zeros((len(block.sums), n_seeds))
    for slot, seed in enumerate(block.seed):
        side = int(block.side[slot] < 0)
        total = counts[0, side, seed]
        mean = sums[0, side, seed] / total
        influence[:, seed] += block.side[slot] * (block.sums[:, slot] - mean * block.counts[:, slot]) / total
    return influence


def _unit_variance(blocks: Sequence[Block], influences: Sequence[np.ndarray]) -> float:
    """Return the part of the variance of the mean over T pairs of seeds that is due to units.

    Units of one pair of seeds are in part a separate sample, so part of the spread between the pairs is due to them,
    and the bootstrap already includes it. That part is estimated from each cluster's influence on the difference.
    """
    within = 0.0
    for block, influence in zip(blocks, influences, strict=True):
        size, n_seeds = influence.shape
        if size < 2:
            continue
        seeds = len(set(block.seed.tolist()))
        if seeds == 1:
            spread = float((influence**2).sum()) / n_seeds**2
        else:
            # Clusters that are in every pair of seeds: their common part does not differ between the pairs.
            seed_influence = influence - influence.mean(axis=1, keepdims=True)
            spread = float((seed_influence**2).sum()) / (n_seeds * (n_seeds - 1))
        within += spread * size / (size - 1)
    return within
