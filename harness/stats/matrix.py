"""Pairwise win rates between all methods."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.stats.consensus import consensus
from harness.stats.tally import Tally, ratio, tally


def pairwise(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return the win rate of each method against each opponent.

    Returns:
        One row per ordered pair of methods that were compared: method, opponent, win_rate, wins, n (decided
        comparisons), ties (comparisons without a consensus).

    Raises:
        UserError: as :func:`harness.stats.consensus.consensus`.
    """
    counted = tally(consensus(judgments))
    wins, n, ties = counts(counted)
    rates = ratio(wins, n)
    rows = [
        {
            "method": method,
            "opponent": opponent,
            "win_rate": rates[i, j],
            "wins": int(wins[i, j]),
            "n": int(n[i, j]),
            "ties": int(ties[i, j]),
        }
        for i, method in enumerate(counted.methods)
        for j, opponent in enumerate(counted.methods)
        if n[i, j] + ties[i, j]
    ]
    return pd.DataFrame(rows, columns=["method", "opponent", "win_rate", "wins", "n", "ties"])


def pairwise_matrix(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return the (M, M) share of decided comparisons that the row's method won against the column's.

    It is NaN for methods without a decided comparison. ``matrix + matrix.T`` is 1 off the diagonal.

    Raises:
        UserError: as :func:`harness.stats.consensus.consensus`.
    """
    counted = tally(consensus(judgments))
    wins, n, _ = counts(counted)
    return pd.DataFrame(ratio(wins, n), index=counted.methods, columns=counted.methods)


def counts(counted: Tally) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (wins, decided comparisons, undecided ones), each (M, M), of the row's method against the column's."""
    size = len(counted.methods)
    wins, n, ties = (np.zeros((size, size)) for _ in range(3))
    np.add.at(wins, (counted.first, counted.second), counted.wins_first)
    np.add.at(wins, (counted.second, counted.first), counted.decided - counted.wins_first)
    np.add.at(n, (counted.first, counted.second), counted.decided)
    np.add.at(ties, (counted.first, counted.second), counted.ties)
    return wins, n + n.T, ties + ties.T
