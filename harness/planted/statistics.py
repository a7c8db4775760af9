"""How well scores agree with a planted truth, with 95 % intervals.

*Gap*: a metric on the truth minus the same on chance, averaged over layers. A metric with one value a layer (R2, rank,
accuracy): Student's t over the layers of each setting, their variance pooled over settings, because two or three values
cannot be redrawn. With one layer a setting there is no interval then. A metric with one value a unit: the neurons of
each layer are redrawn (bootstrap), the same for truth and chance, and what layers vary beyond their neurons is added: a
normal draw of variance ``max(0, s^2 / (W w) - V_neurons)`` for W layers, with s^2 as above and w a draw of chi^2 / its
degrees of freedom (the generalised interval of Weerahandi, 1993). With one layer a setting it is of neurons alone.

*Rank correlation*: Spearman's, of a metric with a recovery score over the methods of one layer, averaged over layers.
Methods are redrawn (bootstrap), each with all of its configurations and the same ones at every layer: the same few
methods run everywhere, so more layers do not make them more. The layers of each setting are redrawn too. The oracle
does not take part: what is asked is whether the metric ranks methods rightly.

Settings are not redrawn: they were chosen, and an interval says nothing of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from harness.planted.evidence import UNIT_COLUMNS, World
from results.comparison.intervals import add_between_variance

LEVEL = 0.95

#: Lossless methods differ by rounding, which is neither a gap nor a rank.
DIGITS = 6

#: Fewer methods than this give no rank correlation.
FEWEST = 4


class Interval(NamedTuple):
    """A value with the limits of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def is_above_zero(self) -> bool:
        return self.low > 0

    @property
    def is_below_zero(self) -> bool:
        return self.high < 0


NOWHERE = Interval(math.nan, math.nan, math.nan)


class Gap(NamedTuple):
    """A metric on the truth and on chance, or on the truth collapsed."""

    truth: Interval
    chance: Interval
    difference: Interval
    """truth minus chance, turned so that above 0 is better"""
    wins: int
    """worlds in which the truth scores strictly better"""
    n: int
    """worlds in which both are defined"""

    def is_apart(self, sign: int) -> bool:
        """Whether the intervals of truth and chance do not touch, the truth on the better side."""
        return self.truth.low > self.chance.high if sign > 0 else self.truth.high < self.chance.low


class Correlation(NamedTuple):
    """A rank correlation."""

    rho: Interval
    n: int
    """pairs of (world, method)"""
    worlds: int
    """those in which both vary"""


def gap(
    worlds: Sequence[World],
    metric: str,
    sign: int,
    *,
    against: Literal["control", "collapsed"] = "control",
    resamples: int,
    seed: int,
) -> Gap:
    """The gap of one metric between truth and chance (or what it is set ``against``).

    Args:
        sign: +1 where larger is better and -1 where smaller is.
    """
    generator = np.random.default_rng([seed, 1])
    known = [world for world in worlds if not any(math.isnan(value) for value in _pair(world, metric, against))]
    if not known:
        return Gap(NOWHERE, NOWHERE, NOWHERE, 0, 0)
    settings = [world.setting for world in known]
    point = np.array([_pair(world, metric, against) for world in known]).round(DIGITS)  # (W, 2)
    difference = sign * (point[:, 0] - point[:, 1])
    column = UNIT_COLUMNS.get(metric)
    if column is None:
        truth, chance, apart = (_over_layers(values, settings) for values in (point[:, 0], point[:, 1], difference))
    else:
        drawn = np.stack([_redrawn(world, column, against, resamples, generator) for world in known])  # (W, R, 2)
        both = [(point[:, side], drawn[..., side]) for side in (0, 1)]
        both.append((difference, sign * (drawn[..., 0] - drawn[..., 1])))
        truth, chance, apart = (_with_layers(values, redrawn, settings, generator) for values, redrawn in both)
    return Gap(truth, chance, apart, int((difference > 0).sum()), len(known))


def rank_correlation(
    worlds: Sequence[World], metric: str, question: str, sign: int, *, resamples: int, seed: int
) -> Correlation:
    """The rank correlation of a metric (turned so that larger is better) with a recovery score."""
    generator = np.random.default_rng([seed, 2])
    names = sorted({world.methods[label] for world in worlds for label in world.compared})
    times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)  # (R, methods)
    points, drawn, settings, n = [], [], [], 0
    for world in worlds:
        pair = _pairs(world, metric, question, sign)
        if len(pair) < FEWEST:
            continue
        n += len(pair)
        x, y = pair.to_numpy(dtype=np.float64).T
        value = float(weighted_spearman(x, y, np.ones((1, len(pair))))[0])
        if math.isnan(value):
            continue
        weights = times[:, [names.index(world.methods[label]) for label in pair.index]]
        settings.append(world.setting)
        points.append(value)
        drawn.append(weighted_spearman(x, y, weights.astype(np.float64)))
    if not points:
        return Correlation(NOWHERE, n, 0)
    means = _over_worlds(np.stack(drawn), settings, generator)
    return Correlation(_interval(float(np.mean(points)), means), n, len(points))


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) rank correlations of x and y (n,) with the i-th pair taken ``weights[r, i]`` times (R, n).

    Ties have their mean rank; NaN where one of the two does not vary.
    """
    total = np.maximum(weights.sum(1, keepdims=True), 1)
    ranks = []
    for values in (x, y):
        below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])
        rank = weights @ below.T
        ranks.append(rank - (weights * rank).sum(1, keepdims=True) / total)
    rx, ry = ranks
    scale = np.sqrt((weights * rx**2).sum(1) * (weights * ry**2).sum(1))
    return np.divide((weights * rx * ry).sum(1), scale, out=np.full(len(weights), np.nan), where=scale > 1e-9)


def _pairs(world: World, metric: str, question: str, sign: int) -> pd.DataFrame:
    """Metric and recovery (n rows, by label) of the methods that have both."""
    values = world.values
    if metric not in values or question not in values:
        return pd.DataFrame()
    chosen = values.loc[world.compared, [metric, question]].dropna()
    return (chosen * [sign, 1]).round(DIGITS)


def _pair(world: World, metric: str, against: str) -> tuple[float, float]:
    """Values on the truth and on what it is set against, NaN where there is none."""
    if metric not in world.values:
        return math.nan, math.nan
    column = world.values[metric]
    return float(column.get(world.truth, math.nan)), float(column.get(getattr(world, against), math.nan))


def _over_layers(values: np.ndarray, settings: Sequence[str]) -> Interval:
    """Mean of one value a layer (W,) and Student's interval, the variance within settings pooled."""
    variance, freedom = _between_layers(values, settings)
    mean = float(values.mean())
    if not freedom:
        return Interval(mean, math.nan, math.nan)
    half = float(student.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def _between_layers(values: np.ndarray, settings: Sequence[str]) -> tuple[float, int]:
    """Variance of the mean of one value a layer (W,), that within settings pooled, and its degrees of freedom."""
    frame = pd.Series(values).groupby(list(settings))
    freedom = len(values) - frame.ngroups
    off = values - frame.transform("mean").to_numpy()
    return (float(off @ off) / freedom / len(values) if freedom else 0.0), freedom


def _with_layers(
    values: np.ndarray, drawn: np.ndarray, settings: Sequence[str], generator: np.random.Generator
) -> Interval:
    """Mean of one value a layer (W,) whose neurons were redrawn (W, R), with what layers vary beyond them."""
    known = ~np.isnan(drawn)
    count = known.sum(0)
    means = np.divide(np.where(known, drawn, 0.0).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)
    variance, freedom = _between_layers(values, settings)
    if freedom and len(means) > 1:
        means = add_between_variance(means, variance, float(np.nanvar(means, ddof=1)), freedom, generator)
    return _interval(float(values.mean()), means)


def _redrawn(world: World, column: str, against: str, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(R, 2) means of a column of the units of truth and of what it is set against over redrawn neurons."""
    found = []
    chosen: np.ndarray | None = None
    for label in (world.truth, getattr(world, against)):
        sums, counts = _by_neuron(world.units[label], column)
        if chosen is None or len(sums) != chosen.shape[1]:
            chosen = generator.integers(0, len(sums), (resamples, len(sums)))
        total = counts[chosen].sum(1)
        found.append(np.divide(sums[chosen].sum(1), total, out=np.full(resamples, np.nan), where=total > 0))
    return np.stack(found, axis=1)


def _by_neuron(units: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(P,) sum and number of the defined values of alive units, by neuron; by unit where units have no neuron."""
    values = units[column].to_numpy(dtype=np.float64, na_value=np.nan)
    used = units["alive"].to_numpy(dtype=bool, na_value=False) & ~np.isnan(values)
    neurons = units["unit" if bool(units["parent"].isna().all()) else "parent"].to_numpy(dtype=np.int64)
    size = int(neurons.max()) + 1
    sums = np.bincount(neurons, weights=np.where(used, values, 0.0), minlength=size)
    return sums, np.bincount(neurons, weights=used.astype(np.float64), minlength=size)


def _over_worlds(values: np.ndarray, settings: Sequence[str], generator: np.random.Generator) -> np.ndarray:
    """(R,) means over worlds of values (W, R), the layers of each setting redrawn; NaN is left out."""
    resamples = values.shape[1]
    chosen = np.empty((resamples, len(settings)), dtype=np.int64)
    for setting in dict.fromkeys(settings):
        own = np.flatnonzero(np.array(settings) == setting)
        chosen[:, own] = own[generator.integers(0, len(own), (resamples, len(own)))]
    picked = values[chosen, np.arange(resamples)[:, None]]  # (R, W)
    known = ~np.isnan(picked)
    count = known.sum(1)
    return np.divide(np.where(known, picked, 0.0).sum(1), count, out=np.full(count.shape, np.nan), where=count > 0)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return Interval(value, math.nan, math.nan)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    # The percentile interval of a skewed distribution may miss the estimate itself.
    return Interval(value, float(min(low, value)), float(max(high, value)))
