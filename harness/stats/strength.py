"""Bradley-Terry scores: one strength per method, from which all pairwise win rates follow."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd

from harness.stats.consensus import consensus
from harness.stats.matrix import counts
from harness.stats.tally import ratio, tally
from methods.errors import UserError

#: Regularisation that keeps strengths finite if a method won all comparisons, or two groups of methods never met.
REGULARISATION = 0.01


def bradley_terry(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return the strengths ``s`` of the Bradley-Terry model (1952), ``P(i beats j) = 1 / (1 + exp(s_j - s_i))``.

    ``choix`` computes the maximum-likelihood fit (iterative Luce spectral ranking; Maystre and Grossglauser, 2015) with
    :data:`REGULARISATION`. As in the win rate, every opponent weighs the same: each pair of methods enters with its
    win rate, times the mean number of decided comparisons over all pairs of methods. In a complete tournament, the
    order of the strengths is then that of the win rates.

    Returns:
        One row per method, strongest first: method, strength (natural-log odds, mean 0), n (decided comparisons).

    Raises:
        UserError: if the package ``choix`` is missing, or as :func:`harness.stats.consensus.consensus`.
    """
    try:
        choix = importlib.import_module("choix")
    except ImportError as error:
        raise UserError(
            "Bradley-Terry scores need the package choix. Install it with: pip install choix (or the extra 'judge')."
        ) from error
    counted = tally(consensus(judgments))
    wins, n, _ = counts(counted)
    weighted = np.nan_to_num(ratio(wins, n)) * (n[n > 0].mean() if n.any() else 0)
    strength = np.zeros(len(counted.methods))
    if wins.any():
        strength = np.asarray(choix.ilsr_pairwise_dense(weighted, alpha=REGULARISATION, max_iter=1000))
    table = pd.DataFrame(
        {"method": counted.methods, "strength": strength - strength.mean(), "n": n.sum(1).astype(np.int64)}
    )
    return table.sort_values(["strength", "method"], ascending=[False, True], ignore_index=True)
