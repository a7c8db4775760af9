"""Win rates, with intervals that account for the dependence between the two orders of a pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from harness.errors import ArgumentError
from harness.stats.consensus import consensus


class Tally(NamedTuple):
    """Numbers of decided comparisons and ties of G unit pairs between M methods."""

    methods: list[str]
    """(M,) names, sorted"""
    first: np.ndarray
    """(G,) int64 index of the pair's first method, which is below that of ``second``"""
    second: np.ndarray
    """(G,) int64 index of the pair's second method"""
    wins_first: np.ndarray
    """(G,) presentations that the first method won, 0 to 2"""
    decided: np.ndarray
    """(G,) presentations that were not a tie, 0 to 2"""
    ties: np.ndarray
    """(G,) presentations that were a tie"""


def tally(decisions: pd.DataFrame) -> Tally:
    """Count the presentations of :func:`harness.stats.consensus.consensus` per unit pair."""
    names = {*decisions["method_a"], *decisions["method_b"]}
    if len({isinstance(name, str) for name in names}) > 1:
        raise ArgumentError("Some methods of the judgments are named by text and others are not; name all by text.")
    methods = sorted(names)
    code = {method: number for number, method in enumerate(methods)}
    a = decisions["method_a"].map(code).to_numpy(dtype=np.int64)
    b = decisions["method_b"].map(code).to_numpy(dtype=np.int64)
    winner = decisions["winner"].map(code).fillna(-1).to_numpy(dtype=np.int64)
    first, second = np.minimum(a, b), np.maximum(a, b)
    # A pair_id that occurs with several pairs of methods is one cluster per pair of methods.
    cluster, _ = pd.factorize(pd.MultiIndex.from_arrays([decisions["pair_id"], first, second]))
    _, where = np.unique(cluster, return_index=True)
    won = winner >= 0
    return Tally(
        methods,
        first[where],
        second[where],
        np.bincount(cluster, weights=(winner == first) & won).astype(np.int64),
        np.bincount(cluster, weights=won).astype(np.int64),
        np.bincount(cluster, weights=~won).astype(np.int64),
    )


def win_rates(judgments: pd.DataFrame, *, n_resamples: int = 1000, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return the win rate of each method with its confidence interval, pooled over opponents and token seeds.

    A comparison is one presentation (pair_id, order) with a consensus. Ties are counted, but do not enter the rate. If
    all methods have the same number of comparisons, the rates sum to half the number of methods.

    The interval, of confidence ``level``, is a percentile bootstrap over unit pairs, seeded by ``seed``. A pair is
    drawn with both its presentations, because the two are not independent. The design fixes how often two methods meet,
    so pairs are redrawn within each pair of methods; drawing them all together would add the difference between
    opponents to the noise. Of n pairs, n - 1 are drawn and weighted n / (n - 1); otherwise the variance would be too
    small by that factor (Rao and Wu, 1988). Pairs of methods with a single unit pair are redrawn together. If a method
    won all of its comparisons, or none, all resamples are the same: its interval is the exact one of Clopper and
    Pearson over its unit pairs.

    Returns:
        One row per method, best first: method, win_rate, ci_low, ci_high, n (decided comparisons), wins, ties, n_pairs
        (unit pairs with a decided comparison), rank (1 is best; equal rates share the better rank), rank_low and
        rank_high (interval of the rank over the resamples). Rates are fractions, and NaN for n = 0.

    Raises:
        ArgumentError: as :func:`harness.stats.consensus.consensus`, or for a wrong level, number or seed.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"win_rates: level = {level}; it must lie between 0 and 1, e.g. 0.95.")
    if n_resamples < 1 or seed < 0:
        raise ArgumentError(f"win_rates: n_resamples = {n_resamples}, seed = {seed}; they must be at least 1 and 0.")
    counted = tally(consensus(judgments))
    n = _per_method(counted, counted.decided, counted.decided)
    wins = _per_method(counted, counted.wins_first, counted.decided - counted.wins_first)
    ties = _per_method(counted, counted.ties, counted.ties)
    has = (counted.decided > 0).astype(np.int64)
    n_pairs = _per_method(counted, has, has)
    rates = ratio(wins, n)
    resampled = _resampled_rates(counted, n_resamples, np.random.default_rng(seed))
    tail = (1 - level) / 2
    low, high = _quantiles(resampled, tail)
    for index in range(len(n)):
        if n[index] and wins[index] in (0, n[index]):
            bound = tail ** (1 / n_pairs[index])
            low[index], high[index] = (0.0, 1 - bound) if wins[index] == 0 else (bound, 1.0)
    ranks = _ranks(resampled)
    rank_low, rank_high = _quantiles(ranks, tail, method="inverted_cdf")
    table = pd.DataFrame(
        {
            "method": counted.methods,
            "win_rate": rates,
            # The percentile interval of a skewed distribution may exclude the estimate by a resample's width.
            "ci_low": np.fmin(low, rates),
            "ci_high": np.fmax(high, rates),
            "n": n.astype(np.int64),
            "wins": wins.astype(np.int64),
            "ties": ties.astype(np.int64),
            "n_pairs": n_pairs.astype(np.int64),
            "rank": pd.array(np.where(n > 0, _ranks(rates[None])[0], 0), dtype="Int64"),
            "rank_low": pd.array(np.nan_to_num(rank_low), dtype="Int64"),
            "rank_high": pd.array(np.nan_to_num(rank_high), dtype="Int64"),
        }
    )
    table.loc[table["n"] == 0, ["rank", "rank_low", "rank_high"]] = pd.NA
    return table.sort_values(["win_rate", "method"], ascending=[False, True], ignore_index=True)


def _per_method(counted: Tally, of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
    """Return the (M,) sums per method of ``of_first`` (G,) and ``of_second`` (G,), the values of a pair's two sides."""
    size = len(counted.methods)
    return np.bincount(counted.first, weights=of_first, minlength=size) + np.bincount(
        counted.second, weights=of_second, minlength=size
    )


def ratio(wins: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return ``wins / n`` elementwise, NaN for n = 0."""
    rates: np.ndarray = np.divide(wins, n, out=np.full(np.shape(n), np.nan), where=n > 0)
    return rates


def _resampled_rates(counted: Tally, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Return the (n_resamples, M) win rates of redrawn unit pairs."""
    size = len(counted.methods)
    wins, n = np.zeros((n_resamples, size)), np.zeros((n_resamples, size))
    meeting = counted.first * size + counted.second
    keys, stratum, sizes = np.unique(meeting, return_inverse=True, return_counts=True)
    members = [np.flatnonzero(stratum == number) for number in range(len(keys)) if sizes[number] > 1]
    alone = np.flatnonzero(sizes[stratum] == 1)
    if len(alone):
        members.append(alone)
    for pairs in members:
        count = len(pairs)
        drawn = pairs[generator.integers(0, count, (n_resamples, max(count - 1, 1)))]
        weight = count / max(count - 1, 1)
        together = len(np.unique(meeting[pairs])) == 1
        for side, of_side in (
            (counted.first, counted.wins_first),
            (counted.second, counted.decided - counted.wins_first),
        ):
            if together:
                method = side[pairs[0]]
                wins[:, method] += weight * of_side[drawn].sum(1)
                n[:, method] += weight * counted.decided[drawn].sum(1)
            else:
                rows = np.broadcast_to(np.arange(n_resamples)[:, None], drawn.shape)
                np.add.at(wins, (rows, side[drawn]), weight * of_side[drawn])
                np.add.at(n, (rows, side[drawn]), weight * counted.decided[drawn])
    return ratio(wins, n)


def _ranks(rates: np.ndarray) -> np.ndarray:
    """Return the (R, M) ranks of rates (R, M): 1 for the highest; equal rates share the better rank; NaN for NaN."""
    if not rates.size:
        return np.zeros(rates.shape)
    ranks: np.ndarray = rankdata(np.where(np.isnan(rates), np.inf, -rates), method="min", axis=1).astype(np.float64)
    return np.where(np.isnan(rates), np.nan, ranks)


def _quantiles(values: np.ndarray, tail: float, method: str = "linear") -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) lower and upper quantiles of values (R, M). NaN is ignored; a column of NaN gives NaN."""
    bounds = np.full((2, values.shape[1]), np.nan)
    used = ~np.isnan(values).all(0)
    bounds[:, used] = np.nanquantile(values[:, used], [tail, 1 - tail], axis=0, method=method)  # type: ignore[call-overload]
    return bounds[0], bounds[1]
