"""Stability: how alike are the dictionaries of two runs, atom by atom (ELUDe paper, App. B.3; Fel et al. 2025).

A property of several cells (one method, several seeds), so that these are functions and no metric of a single cell.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harness.errors import UserError
from harness.metrics.dictionary import directions


def matched_cosine(d1: Tensor, d2: Tensor) -> float:
    """Mean cosine of the atoms of two dictionaries under the best one-to-one matching (Hungarian method).

    No absolute values: an atom and its negative are opposites. Atoms of length zero are left out; if then one
    dictionary has more atoms than the other, the surplus is not matched and not counted.

    Args:
        d1: (K1, d).
        d2: (K2, d).

    Returns:
        A value in [-1, 1]: 1 for the same atoms in any order and scale; about 0.130 for random ones of 6144 x 768.
        NaN if one of them has no atom of positive length.

    Raises:
        UserError: if the widths differ, or an atom is not finite.
    """
    return _matched(*_comparable(d1, d2))[0]


def matched_cosine_by_parent(d1: Tensor, parents1: Tensor, d2: Tensor, parents2: Tensor) -> float:
    """:func:`matched_cosine` inside each parent unit, with a penalty for unequal counts, averaged over parents.

    A parent with k1 and k2 atoms scores the mean cosine of its ``min(k1, k2)`` matched atoms minus
    ``|k1 - k2| / max(k1, k2)``; one that has atoms in only one of the dictionaries scores -1, the lowest there is.

    Args:
        parents1: (K1,) parent of each atom of d1 (K1, d); parents2 (K2,) likewise.

    Raises:
        UserError: for shapes that do not fit.
    """
    if parents1.shape != d1.shape[:1] or parents2.shape != d2.shape[:1]:
        raise UserError(
            f"matched_cosine_by_parent: parents {tuple(parents1.shape)} and {tuple(parents2.shape)} must name one "
            f"parent for each atom of dictionaries {tuple(d1.shape)} and {tuple(d2.shape)}."
        )
    # In float64 as the directions are: squares of tiny float32 atoms vanish, and the two would not fit together.
    alive1, alive2 = d1.double().norm(dim=1) > 0, d2.double().norm(dim=1) > 0
    rows1, rows2 = _comparable(d1, d2)
    owner1, owner2 = parents1.cpu()[alive1.cpu()], parents2.cpu()[alive2.cpu()]
    scores = []
    for parent in torch.unique(torch.cat([owner1, owner2])).tolist():
        mine, theirs = rows1[owner1 == parent], rows2[owner2 == parent]
        if not len(mine) or not len(theirs):
            scores.append(-1.0)
            continue
        similarity, _ = _matched(mine, theirs)
        scores.append(similarity - abs(len(mine) - len(theirs)) / max(len(mine), len(theirs)))
    return float(np.mean(scores)) if scores else math.nan


def _comparable(d1: Tensor, d2: Tensor) -> tuple[Tensor, Tensor]:
    rows1, rows2 = directions(d1), directions(d2)
    if rows1.shape[1] != rows2.shape[1]:
        raise UserError(f"Dictionaries of {rows1.shape[1]} and {rows2.shape[1]} dimensions cannot be matched.")
    return rows1, rows2


def _matched(rows1: Tensor, rows2: Tensor) -> tuple[float, int]:
    """(mean cosine of matched atoms, number of pairs) of unit rows."""
    if not len(rows1) or not len(rows2):
        return math.nan, 0
    cosines = (rows1 @ rows2.T).clamp(-1, 1).numpy()
    first, second = linear_sum_assignment(cosines, maximize=True)
    return float(cosines[first, second].mean()), len(first)
