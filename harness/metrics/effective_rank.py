"""Effective rank: effective number of directions that a dictionary spans."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.dictionary import checked_atoms, writing_directions
from harness.metrics.inputs import in_range


def effective_rank(d: Tensor) -> float:
    """Return ``exp(H(p))`` with ``p_i = sigma_i / sum_j sigma_j`` over the singular values of a dictionary.

    Atoms (K, d) are not normalised (Roy and Vetterli 2007).

    Returns:
        A value in [1, min(K, d)], e.g. n for the n x n identity and 2 sqrt(2) for diag(2, 1, 1). It is NaN for a
        dictionary of zeros.

    Raises:
        UserError: if ``d`` is not a matrix of real numbers, or contains NaN or infinity.
    """
    checked_atoms(d)  # raises for an invalid shape or values
    # Of all atoms together: the rank does not depend on their common scale, but on their lengths.
    rows = in_range(d.cpu().reshape(1, -1)).reshape(d.shape)
    if not bool(((rows != 0).sum(1) > 1).any()):
        # Each row is along an axis, as what the sub-units of a neuron write: the columns are orthogonal.
        return _spread(rows.norm(dim=0))
    # The triangular factor has the same singular values and at most as many rows as columns.
    triangular = torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
    return _spread(torch.linalg.svdvals(triangular))


def _spread(singular: Tensor) -> float:
    """Return the exponential of the entropy of singular values; NaN if all are zero."""
    total = float(singular.sum())
    if not total > 0:
        return math.nan
    shares = singular[singular > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


@METRICS.register()
class EffectiveRank(Metric):
    """Effective rank of the atoms, not normalised.

    Companion: ``effective_rank_share``, the rank divided by min(n_units, d). If the atoms are the directions that units
    read, ``details`` also has the rank of the directions that they write. For a split, the latter depends only on the
    number of sub-units per neuron.
    """

    id = "effective_rank"
    title = "effective rank"
    unit = ""
    reference = "ELUDe paper, App. B.3; Roy and Vetterli 2007"
    needs_network = False
    needs_dictionary = True

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        dictionary = outcome.method.require_dictionary()
        value, n = effective_rank(dictionary.atoms), len(dictionary.atoms)
        # Directions that units read and that they write are in different spaces, so boards must not rank them together.
        side = {"direction": dictionary.side}
        details: dict[str, Any] = {"width": dictionary.atoms.shape[1]}
        if dictionary.side == "reader" and not outcome.method.spec.virtual:
            writers = writing_directions(outcome.method)
            details |= {"writer": effective_rank(writers), "writer_width": writers.shape[1]}
        yield self.score(value, n)._replace(details=details, params=side)
        share = value / min(dictionary.atoms.shape)
        yield Score("effective_rank_share", share, n, direction="higher", details=details, params=side)
