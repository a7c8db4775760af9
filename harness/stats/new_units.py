"""Uncertainty of win rates for new units of each method: the judged units are a sample, each in many unit pairs.

A unit pair has two sampling units, and a unit meets several opponents, so unit pairs are not independent. The errors of
two pairs are correlated if, and only if, they share a unit: the dyadic dependence of Fafchamps and Gubert (2007) and
Aronow, Samii and Assenova (2015). Resampling the units of both sides (the pigeonhole bootstrap; Owen and Eckles, 2012)
triples the variance of the noise of single pairs, so the variance is computed in closed form here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri, stdtrit

from harness.stats.tally import Tally, meetings, ratio

#: Largest variance of a quantity between 0 and 1.
LARGEST_VARIANCE = 0.25


class NewUnits(NamedTuple):
    """Errors of M win rates over samples of units."""

    covariance: np.ndarray
    """(M, M) covariance of the win rates; NaN where ``n_units`` is below 2"""
    n_units: np.ndarray
    """(M,) number of different sampling units with a decided comparison"""
    n_opposing: np.ndarray
    """(M,) number of different sampling units that they met in decided comparisons"""


def new_units(counted: Tally, n_opponents: np.ndarray) -> NewUnits:
    """Return the covariance of the win rates if other units of each method had been judged.

    Pair p of methods i and j moves the rate of i by ``(w_p - r n_p) / (n J_i)`` and that of j by minus the same with
    ``J_j``: w_p of its n_p decided comparisons were won by i, r is i's win rate in this meeting of n decided
    comparisons, and J_i is i's number of opponents. With the (M,) vectors D_p of these changes, the covariance is

        sum over units u of (sum of D_p over pairs with u)(...)^T - sum over pairs of two units (sum of D_p)(...)^T,

    because pairs that share both units are in the first sum twice. The residuals of a meeting sum to zero, which makes
    them too small: they are multiplied by ``sqrt(g / (g - 1))``, g the smaller number of units of the two sides. A
    meeting of a single unit tells nothing about others; its rate gets the largest possible variance.

    The variance of a rate is at least that of independent unit pairs; the difference of the two sums may be smaller by
    chance.

    Args:
        counted: comparisons with their units.
        n_opponents: (M,) opponents with a decided comparison.

    Raises:
        ValueError: if the comparisons do not name their units.
    """
    if counted.unit_first is None or counted.unit_second is None:
        raise ValueError("the tally has no units")
    size = len(counted.methods)
    used = counted.decided > 0
    first, second = counted.first[used], counted.second[used]
    units = np.stack([counted.unit_first[used], counted.unit_second[used]])
    met = meetings(counted)
    meeting = met.of_pair[used]
    n_in_meeting = np.minimum(*(_distinct(meeting, side, len(met.first)) for side in units))
    shares = np.divide(1.0, n_opponents, out=np.zeros(size), where=n_opponents > 0)
    residual = counted.wins_first[used] - ratio(met.wins, met.decided)[meeting] * counted.decided[used]
    g = n_in_meeting[meeting]
    residual *= np.sqrt(np.divide(g, g - 1.0, out=np.zeros(len(g)), where=g > 1)) / met.decided[meeting]
    changes = np.zeros((len(first), size))
    rows = np.arange(len(first))
    changes[rows, first] = residual * shares[first]
    changes[rows, second] = -residual * shares[second]
    covariance = _over_units(changes, units)
    _raise_to(covariance, (changes**2).sum(0))
    for i, j in zip(met.first[n_in_meeting == 1], met.second[n_in_meeting == 1], strict=True):
        contrast = np.zeros(size)
        contrast[i], contrast[j] = shares[i], -shares[j]
        covariance += LARGEST_VARIANCE * np.outer(contrast, contrast)
    methods = np.concatenate([first, second])
    n_units = _distinct(methods, units.reshape(-1), size)
    covariance[n_units < 2] = covariance[:, n_units < 2] = np.nan
    return NewUnits(covariance, n_units, _distinct(methods, units[::-1].reshape(-1), size))


def interval(rates: np.ndarray, sample: NewUnits, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) bounds of the rates (M,) for new units.

    It is Student's interval of the log-odds, with one degree of freedom less than the method has units: on this scale
    the bounds stay within 0 and 1, and the interval is not too short towards either. If all comparisons were won or
    lost, it is the exact bound of Clopper and Pearson for as many independent trials as the smaller of the two sides
    has units.
    """
    low, high = np.full((2, len(rates)), np.nan)
    tail = (1 - level) / 2
    estimable = sample.n_units > 1
    inside = estimable & (rates > 0) & (rates < 1)
    p = rates[inside]
    reach = stdtrit(sample.n_units[inside] - 1, 1 - tail) * np.sqrt(np.diagonal(sample.covariance)[inside])
    reach /= p * (1 - p)
    low[inside], high[inside] = expit(logit(p) - reach), expit(logit(p) + reach)
    bound = tail ** (1 / np.maximum(np.minimum(sample.n_units, sample.n_opposing), 1))
    low[estimable & (rates == 0)], high[estimable & (rates == 1)] = 0.0, 1.0
    lost, won = estimable & (rates == 0), estimable & (rates == 1)
    high[lost], low[won] = 1 - bound[lost], bound[won]
    return low, high


def rank_interval(
    rates: np.ndarray, sample: NewUnits, level: float, n_draws: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) bounds of the ranks of the rates (M,) for new units; NaN for a method without a covariance.

    A method's rank is at least 1 plus the number of methods that are surely better, and at most M minus the number of
    those surely worse (Mogstad, Romano, Shaikh and Wilhelm, 2024). "Surely" is for all differences of the method
    together: they are compared with the ``level`` quantile of the largest of them, in standard errors, over normal
    draws with their covariance. Ranks of redrawn rates cover too rarely if methods are nearly equal.
    """
    rated = np.flatnonzero(~np.isnan(rates))
    low, high = np.full((2, len(rates)), np.nan)
    covariance = sample.covariance[np.ix_(rated, rated)].copy()
    unknown = np.isnan(np.diagonal(covariance))
    covariance[unknown] = covariance[:, unknown] = 0.0
    covariance[unknown, unknown] = LARGEST_VARIANCE
    values, vectors = np.linalg.eigh(covariance)
    drawn = generator.standard_normal((n_draws, len(rated))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    variances = np.diagonal(covariance)
    for number, method in enumerate(rated):
        if unknown[number]:
            continue
        error = np.sqrt(np.maximum(variances + variances[number] - 2 * covariance[number], 0))
        gaps, differences = rates[rated] - rates[method], drawn - drawn[:, [number]]
        in_errors = np.divide(np.abs(differences), error, out=np.zeros_like(differences), where=error > 0).max(1)
        # Wider for few units, as Student's interval is.
        student = stdtrit(sample.n_units[method] - 1, (1 + level) / 2) / ndtri((1 + level) / 2)
        sure = np.abs(gaps) > np.quantile(in_errors, level) * student * error
        low[method] = 1 + np.count_nonzero(sure & (gaps > 0))
        high[method] = len(rated) - np.count_nonzero(sure & (gaps < 0))
    return low, high


def _over_units(changes: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the (M, M) covariance of the sums over pairs of ``changes`` (G, M) whose pairs share ``units`` (2, G)."""
    one, other = units
    apart = one != other
    unit = np.unique(units, return_inverse=True)[1].reshape(2, -1)
    by_unit = np.zeros((int(unit.max(initial=-1)) + 1, changes.shape[1]))
    np.add.at(by_unit, unit[0], changes)
    np.add.at(by_unit, unit[1, apart], changes[apart])
    low, high = np.sort(unit[:, apart], axis=0)
    dyad = np.unique(low * len(by_unit) + high, return_inverse=True)[1].reshape(-1)
    by_dyad = np.zeros((int(dyad.max(initial=-1)) + 1, changes.shape[1]))
    np.add.at(by_dyad, dyad, changes[apart])
    covariance: np.ndarray = by_unit.T @ by_unit - by_dyad.T @ by_dyad
    return covariance


def _raise_to(covariance: np.ndarray, smallest: np.ndarray) -> None:
    """Raise the variances of a covariance (M, M) to at least ``smallest`` (M,), in place."""
    diagonal = np.arange(len(smallest))
    covariance[diagonal, diagonal] = np.maximum(np.diagonal(covariance), smallest)


def _distinct(groups: np.ndarray, names: np.ndarray, size: int) -> np.ndarray:
    """Return the (size,) numbers of different ``names`` (n,) in each of the ``groups`` (n,)."""
    span = int(names.max(initial=0)) + 1
    counts: np.ndarray = np.bincount(np.unique(groups * span + names) // span, minlength=size)
    return counts
