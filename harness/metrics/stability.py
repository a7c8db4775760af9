"""Stability: similarity of the dictionaries of two runs, atom by atom (ELUDe paper, App. B.3; Fel et al. 2025).

Stability is a property of several cells (one method, several seeds), so these are functions, not a metric of one cell.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.dictionary import checked_atoms, directions


def matched_cosine(d1: Tensor, d2: Tensor, *, full: bool = False) -> float:
    """Return the mean cosine of the atoms (K1, d) and (K2, d) under the best one-to-one matching (Hungarian method).

    Cosines are signed: an atom and its negative are opposites. For dictionaries of equally many atoms of positive
    length, both values of ``full`` give the same number.

    Args:
        full: count every atom, as the score ``stability`` does (ELUDe paper, App. B.3). An atom of length zero has
            cosine 0 with any atom, and ``|K1 - K2| / max(K1, K2)`` is subtracted for the atoms of the larger dictionary
            that have no partner. By default, atoms of length zero are excluded, and the surplus of the dictionary that
            then has more atoms is neither matched nor counted.

    Returns:
        A value in [-1, 1], or above -2 with ``full``: 1 for the same atoms in any order and scale, and about 0.130 for
        random dictionaries of 6144 x 768. It is NaN if a dictionary has no atom of positive length.

    Raises:
        ArgumentError: if the widths differ, or an atom is not finite.
    """
    rows1, rows2 = _comparable(d1, d2)
    if not full or not len(rows1) or not len(rows2):
        return _matched(rows1, rows2)
    surplus = abs(len(d1) - len(d2)) / max(len(d1), len(d2))
    return _matched(_with_zeros(rows1, len(d1)), _with_zeros(rows2, len(d2))) - surplus


def matched_cosine_by_parent(d1: Tensor, parents1: Tensor, d2: Tensor, parents2: Tensor) -> float:
    """Return :func:`matched_cosine` within each parent unit, with a penalty for unequal counts, averaged over parents.

    Of the atoms (K1, d) and (K2, d), ``parents1`` (K1,) and ``parents2`` (K2,) are the parents. The score of a parent
    with k1 and k2 atoms is the mean cosine of its ``min(k1, k2)`` matched atoms minus ``|k1 - k2| / max(k1, k2)``. A
    parent with atoms in only one of the dictionaries scores -1. Atoms of length zero, which a split makes for shares of
    zero, are excluded before they are counted (ELUDe paper, App. B.3).

    Raises:
        ArgumentError: if the shapes do not match, an atom is not finite, or a parent is not a whole number.
    """
    alive1, alive2 = checked_atoms(d1)[1], checked_atoms(d2)[1]
    for parents in (parents1, parents2):
        if not isinstance(parents, Tensor) or (
            parents.is_floating_point() and bool((parents != parents.floor()).any())
        ):
            raise ArgumentError("matched_cosine_by_parent: parents must be a tensor of whole numbers, one per atom.")
    if parents1.shape != d1.shape[:1] or parents2.shape != d2.shape[:1]:
        raise ArgumentError(
            f"matched_cosine_by_parent: parents {tuple(parents1.shape)} and {tuple(parents2.shape)} must contain one "
            f"parent per atom of the dictionaries {tuple(d1.shape)} and {tuple(d2.shape)}."
        )
    rows1, rows2 = _comparable(d1, d2)
    owner1, owner2 = parents1.cpu()[alive1], parents2.cpu()[alive2]
    scores = []
    for parent in torch.unique(torch.cat([owner1, owner2])).tolist():
        atoms1, atoms2 = rows1[owner1 == parent], rows2[owner2 == parent]
        if not len(atoms1) or not len(atoms2):
            scores.append(-1.0)
            continue
        penalty = abs(len(atoms1) - len(atoms2)) / max(len(atoms1), len(atoms2))
        scores.append(_matched(atoms1, atoms2) - penalty)
    return float(np.mean(scores)) if scores else math.nan


def _comparable(d1: Tensor, d2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the directions of both dictionaries; raise ArgumentError if their widths differ."""
    rows1, rows2 = directions(d1), directions(d2)
    if rows1.shape[1] != rows2.shape[1]:
        raise ArgumentError(
            f"The dictionaries have {rows1.shape[1]} and {rows2.shape[1]} dimensions; they must have the same number "
            "to be matched."
        )
    return rows1, rows2


def _with_zeros(rows: Tensor, n_atoms: int) -> Tensor:
    """Return rows (K, d) followed by rows of zeros: (n_atoms, d)."""
    return rows if len(rows) == n_atoms else torch.cat([rows, rows.new_zeros(n_atoms - len(rows), rows.shape[1])])


def _matched(rows1: Tensor, rows2: Tensor) -> float:
    """Return the mean cosine of matched rows of length one or zero; NaN without any."""
    # The solver copies its matrix unless it is in float64 and to be minimised, so it gets the negative cosines.
    cost = (rows1 @ rows2.T).clamp_(-1, 1).neg_().numpy()
    pairs = linear_sum_assignment(cost)
    return float((-cost[pairs]).mean()) if cost.size else math.nan
