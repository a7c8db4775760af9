"""Comparisons counted per unit pair and per meeting of two methods."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.errors import ArgumentError


class Tally(NamedTuple):
    """Numbers of decided and undecided comparisons of G unit pairs between M methods."""

    methods: list[str]
    """(M,) names, sorted"""
    first: np.ndarray
    """(G,) int64 index of the pair's first method, which is below that of ``second``"""
    second: np.ndarray
    """(G,) int64 index of the pair's second method"""
    wins_first: np.ndarray
    """(G,) presentations that the first method won, 0 to 2"""
    decided: np.ndarray
    """(G,) presentations with a consensus, 0 to 2"""
    ties: np.ndarray
    """(G,) presentations without a consensus: ties and undecided ones"""
    unit_first: np.ndarray | None = None
    """(G,) int64 code of the first method's sampling unit; None if the judgments do not name the units"""
    unit_second: np.ndarray | None = None
    """(G,) int64 code of the second method's sampling unit; equal codes are one unit"""


class Meetings(NamedTuple):
    """Results of the E pairs of methods that were compared."""

    first: np.ndarray
    """(E,) int64 index of the first method"""
    second: np.ndarray
    """(E,) int64 index of the second method"""
    of_pair: np.ndarray
    """(G,) int64 index of each unit pair's meeting"""
    wins: np.ndarray
    """(E,) comparisons that the first method won"""
    decided: np.ndarray
    """(E,) comparisons with a consensus"""


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
    counted = Tally(
        methods,
        first[where],
        second[where],
        np.bincount(cluster, weights=(winner == first) & won).astype(np.int64),
        np.bincount(cluster, weights=won).astype(np.int64),
        np.bincount(cluster, weights=~won).astype(np.int64),
    )
    if "unit_a" not in decisions.columns:
        return counted
    of_a, of_b = _unit_codes(decisions)
    of_first, of_second = np.where(a < b, of_a, of_b), np.where(a < b, of_b, of_a)
    unit_first, unit_second = of_first[where], of_second[where]
    different = (unit_first[cluster] != of_first) | (unit_second[cluster] != of_second)
    if different.any():
        pair = decisions["pair_id"].iloc[int(different.argmax())]
        raise ArgumentError(
            f"The two orders of the pair {pair!r} show different units. Give each pair of units its own pair_id."
        )
    return counted._replace(unit_first=unit_first, unit_second=unit_second)


def meetings(counted: Tally) -> Meetings:
    """Add up the unit pairs of each pair of methods."""
    keys, of_pair = np.unique(counted.first * len(counted.methods) + counted.second, return_inverse=True)
    size = max(len(counted.methods), 1)
    return Meetings(
        keys // size,
        keys % size,
        of_pair.reshape(-1),
        np.bincount(of_pair.reshape(-1), weights=counted.wins_first, minlength=len(keys)),
        np.bincount(of_pair.reshape(-1), weights=counted.decided, minlength=len(keys)),
    )


def per_method(counted: Tally, of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
    """Return the (M,) sums per method of ``of_first`` (G,) and ``of_second`` (G,), the values of a pair's two sides."""
    size = len(counted.methods)
    sums: np.ndarray = np.bincount(counted.first, weights=of_first, minlength=size)
    return sums + np.bincount(counted.second, weights=of_second, minlength=size)


def ratio(wins: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return ``wins / n`` elementwise, NaN for n = 0."""
    rates: np.ndarray = np.divide(wins, n, out=np.full(np.shape(n), np.nan), where=n > 0)
    return rates


def _unit_codes(decisions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 codes of the columns unit_a and unit_b, with equal codes for equal names."""
    # As objects: numbers and text together would become text.
    names = pd.concat([decisions["unit_a"].astype(object), decisions["unit_b"].astype(object)], ignore_index=True)
    codes, _ = pd.factorize(names)
    return codes[: len(decisions)].astype(np.int64), codes[len(decisions) :].astype(np.int64)
