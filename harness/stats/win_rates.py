"""Win rates, with an interval for the judged units and one for new units of each method."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import rankdata

from harness.errors import ArgumentError
from harness.stats.consensus import consensus
from harness.stats.new_units import interval, new_units, rank_interval
from harness.stats.tally import Meetings, Tally, meetings, per_method, ratio, tally


def win_rates(judgments: pd.DataFrame, *, n_resamples: int = 1000, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return the win rate of each method, which is the mean of its win rates against each opponent.

    A comparison is one presentation (pair_id, order) with a consensus; those without one (ties and undecided ones) are
    counted, but do not enter the rate. Every opponent weighs the same, whatever the number of its comparisons. In a
    complete tournament, in which all pairs of methods have a decided comparison, the rates sum to half the number of
    methods. An opponent without a decided comparison is left out of the method's mean, so that rates of an incomplete
    tournament are means over different opponents.

    Two intervals of confidence ``level``:

    - ``ci_low`` to ``ci_high``, for these units: a percentile bootstrap over unit pairs, seeded by ``seed``. A pair is
      drawn with both its presentations, because the two are not independent. The design fixes how often two methods
      meet, so pairs are redrawn within each pair of methods. Of n pairs, n - 1 are drawn and weighted n / (n - 1);
      otherwise the variance would be too small by that factor (Rao and Wu, 1988). Pairs of methods with a single unit
      pair are redrawn together. If a method won all of its comparisons, or none, all resamples are the same: its
      interval is the exact one over its unit pairs (that of Clopper and Pearson if all opponents have as many).
    - ``new_low`` to ``new_high``, for new units of each method, as in :mod:`harness.stats.new_units`. It needs the
      columns unit_a and unit_b; without them, it is NaN. A method with fewer than two judged units has none.

    Neither is for other fits of the methods, other images or other judges.

    Returns:
        One row per method, best first: method, win_rate, ci_low, ci_high, n (decided comparisons), wins, ties
        (comparisons without a consensus), n_pairs (unit pairs with a decided comparison), rank (1 is best; equal rates
        share the better rank), rank_low and rank_high (interval of the rank: for new units,
        or without units over the resamples), new_low, new_high, n_units (different judged units, NA without
        units), n_opponents (those with a decided comparison). Rates are fractions, and NaN for n = 0.

    Raises:
        ArgumentError: as :func:`harness.stats.consensus.consensus`, or for a wrong level, number or seed.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"win_rates: level = {level}; it must lie between 0 and 1, e.g. 0.95.")
    if n_resamples < 1 or seed < 0:
        raise ArgumentError(f"win_rates: n_resamples = {n_resamples}, seed = {seed}; they must be at least 1 and 0.")
    return scored(tally(consensus(judgments)), n_resamples=n_resamples, level=level, seed=seed)


def scored(counted: Tally, *, n_resamples: int = 1000, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return the table of :func:`win_rates` from counted comparisons."""
    met = meetings(counted)
    table = pd.DataFrame({"method": counted.methods})
    rates, n_opponents = mean_rates(ratio(met.wins, met.decided), met, len(counted.methods))
    generator = np.random.default_rng(seed)
    resampled = _resampled_rates(counted, met, n_resamples, generator)
    tail = (1 - level) / 2
    low, high = _judged_interval(resampled, rates, counted, met, tail)
    table["win_rate"], table["ci_low"], table["ci_high"] = rates, low, high
    has = counted.decided > 0
    for name, of_first, of_second in (
        ("n", counted.decided, counted.decided),
        ("wins", counted.wins_first, counted.decided - counted.wins_first),
        ("ties", counted.ties, counted.ties),
        ("n_pairs", has, has),
    ):
        table[name] = per_method(counted, of_first, of_second).astype(np.int64)
    new_low, new_high = np.full((2, len(rates)), np.nan)
    n_units = pd.array([pd.NA] * len(rates), dtype="Int64")
    if counted.unit_first is not None:
        sample = new_units(counted, n_opponents)
        new_low, new_high = interval(rates, sample, level)
        n_units = pd.array(sample.n_units, dtype="Int64")
        rank_low, rank_high = rank_interval(rates, sample, level, n_resamples, generator)
    else:
        rank_low, rank_high = _quantiles(ranks(resampled), tail, method="inverted_cdf")
    for name, of_method in (("rank", ranks(rates[None])[0]), ("rank_low", rank_low), ("rank_high", rank_high)):
        table[name] = pd.array(np.nan_to_num(of_method), dtype="Int64")
        table.loc[np.isnan(of_method), name] = pd.NA
    table["new_low"], table["new_high"] = new_low, new_high
    table["n_units"], table["n_opponents"] = n_units, n_opponents
    return table.sort_values(["win_rate", "method"], ascending=[False, True], ignore_index=True)


def mean_rates(rates: np.ndarray, met: Meetings, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) mean over opponents of the win rates (E,) in meetings, and the (M,) number of these opponents.

    Rates are those of the meeting's first method; a meeting with the rate NaN does not count.
    """
    decided = ~np.isnan(rates)
    sums, n = np.zeros(size), np.zeros(size, dtype=np.int64)
    for side, of_side in ((met.first, rates), (met.second, 1 - rates)):
        np.add.at(sums, side[decided], of_side[decided])
        np.add.at(n, side[decided], 1)
    return ratio(sums, n), n


def _judged_interval(
    resampled: np.ndarray, rates: np.ndarray, counted: Tally, met: Meetings, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) bounds of the rates (M,) from the rates of resamples (R, M)."""
    low, high = _quantiles(resampled, tail)
    n_pairs = np.bincount(met.of_pair, weights=counted.decided > 0, minlength=len(met.first))
    for index in np.flatnonzero((rates == 0) | (rates == 1)):
        bound = _all_won(n_pairs[((met.first == index) | (met.second == index)) & (n_pairs > 0)], tail)
        low[index], high[index] = (0.0, 1 - bound) if rates[index] == 0 else (bound, 1.0)
    # The percentile interval of a skewed distribution may exclude the estimate by a resample's width.
    return np.fmin(low, rates), np.fmax(high, rates)


def _all_won(n: np.ndarray, tail: float) -> float:
    """Return the smallest mean of probabilities p_j for which winning all n_j (J,) trials of each has probability tail.

    The minimum of the mean with ``sum n_j log p_j = log tail`` has ``p_j = min(1, x n_j)``. For equal n_j it is the
    bound of Clopper and Pearson for all trials together, ``tail ** (1 / sum n_j)``.
    """

    def excess(x: float) -> float:
        return float((n * np.log(np.minimum(1, x * n))).sum() - np.log(tail))

    x = brentq(excess, tail ** (1 / n.min()) / n.max() / 2, 1 / n.min(), xtol=1e-15)
    return float(np.minimum(1, x * n).mean())


def _resampled_rates(counted: Tally, met: Meetings, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Return the (n_resamples, M) win rates of redrawn unit pairs."""
    size = len(counted.methods)
    n_pairs = np.bincount(met.of_pair, minlength=len(met.first))
    sums, n = np.zeros((n_resamples, size)), np.zeros((n_resamples, size))
    for meeting in np.flatnonzero(n_pairs > 1):
        pairs = np.flatnonzero(met.of_pair == meeting)
        # The weight n / (n - 1) of each pair cancels out in the rate.
        drawn = pairs[generator.integers(0, len(pairs), (n_resamples, len(pairs) - 1))]
        rates = ratio(counted.wins_first[drawn].sum(1), counted.decided[drawn].sum(1))
        for method, rate in ((met.first[meeting], rates), (met.second[meeting], 1 - rates)):
            sums[:, method] += np.nan_to_num(rate)
            n[:, method] += ~np.isnan(rates)
    alone = np.flatnonzero(n_pairs[met.of_pair] == 1)
    if len(alone):
        rates, n_alone = _resampled_single_pairs(counted, alone, n_resamples, generator)
        sums += np.nan_to_num(rates) * n_alone
        n += np.where(np.isnan(rates), 0, n_alone)
    return ratio(sums, n)


def _resampled_single_pairs(
    counted: Tally, pairs: np.ndarray, n_resamples: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n_resamples, M) rates over redrawn meetings of one unit pair each, and their (M,) number."""
    size = len(counted.methods)
    drawn = pairs[generator.integers(0, len(pairs), (n_resamples, max(len(pairs) - 1, 1)))]
    rows = np.broadcast_to(np.arange(n_resamples)[:, None], drawn.shape)
    wins, decided = np.zeros((n_resamples, size)), np.zeros((n_resamples, size))
    for side, of_side in ((counted.first, counted.wins_first), (counted.second, counted.decided - counted.wins_first)):
        np.add.at(wins, (rows, side[drawn]), of_side[drawn])
        np.add.at(decided, (rows, side[drawn]), counted.decided[drawn])
    number: np.ndarray = np.bincount(
        np.concatenate([counted.first[pairs], counted.second[pairs]]),
        weights=np.tile(counted.decided[pairs] > 0, 2),
        minlength=size,
    )
    return ratio(wins, decided), number


def ranks(rates: np.ndarray) -> np.ndarray:
    """Return the (R, M) ranks of rates (R, M): 1 for the highest; equal rates share the better rank; NaN for NaN."""
    if not rates.size:
        return np.zeros(rates.shape)
    # Means of the same fractions in another order differ in the last bit.
    lower_is_better = np.where(np.isnan(rates), np.inf, -rates.round(12))
    ranks: np.ndarray = rankdata(lower_is_better, method="min", axis=1).astype(np.float64)
    return np.where(np.isnan(rates), np.nan, ranks)


def _quantiles(values: np.ndarray, tail: float, method: str = "linear") -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) lower and upper quantiles of values (R, M). NaN is ignored; a column of NaN gives NaN."""
    bounds = np.full((2, values.shape[1]), np.nan)
    used = ~np.isnan(values).all(0)
    bounds[:, used] = np.nanquantile(values[:, used], [tail, 1 - tail], axis=0, method=method)  # type: ignore[call-overload]
    return bounds[0], bounds[1]
