"""Recovery of a planted truth, as functions of plain tensors.

Four questions: is each concept represented by a unit (:func:`matched_correlation`), does each unit follow one concept
(:func:`purities`), do units have the true directions (:func:`matched_directions`), and is each token assigned to the
right sub-unit (:func:`adjusted_rand`)?
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Moments:
    """Running first and second moments of codes (n, U) and concept strengths (n, C), in float64."""

    def __init__(self, n_units: int, n_concepts: int) -> None:
        self.n = 0
        self.codes = torch.zeros(n_units, dtype=torch.float64)
        self.squares = torch.zeros(n_units, dtype=torch.float64)
        self.strengths = torch.zeros(n_concepts, dtype=torch.float64)
        self.products = torch.zeros(n_concepts, n_concepts, dtype=torch.float64)
        self.cross = torch.zeros(n_concepts, n_units, dtype=torch.float64)

    def update(self, codes: Tensor, strengths: Tensor) -> None:
        """Add tokens: codes (m, U) and strengths (m, C), on one device."""
        if self.codes.device != codes.device:
            self._move_to(codes.device)
        codes, strengths = codes.double(), strengths.double()
        self.n += len(codes)
        self.codes += codes.sum(0)
        self.squares += codes.square().sum(0)
        self.strengths += strengths.sum(0)
        self.products += strengths.T @ strengths
        self.cross += strengths.T @ codes

    def _move_to(self, device: torch.device) -> None:
        """Move the sums to the device of the tokens, which are larger."""
        self.codes, self.squares, self.strengths = (
            sums.to(device) for sums in (self.codes, self.squares, self.strengths)
        )
        self.products, self.cross = self.products.to(device), self.cross.to(device)

    def covariances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return covariances of strengths (C, C) and with codes (C, U), and variances of codes (U,), on the CPU."""
        s, z = self.strengths.cpu() / self.n, self.codes.cpu() / self.n
        within = self.products.cpu() / self.n - torch.outer(s, s)
        return within, self.cross.cpu() / self.n - torch.outer(s, z), (self.squares.cpu() / self.n - z**2).clamp_min(0)


def matched_correlation(moments: Moments) -> float:
    """Return the mean over concepts of the correlation with the matched unit, in the best one-to-one matching.

    This is the mean correlation coefficient (Hyvarinen and Morioka 2016) without absolute values: a negative
    correlation counts as 0, as does a concept without a unit. It is 1 if the codes are the strengths.
    """
    within, cross, variance = moments.covariances()
    scale = torch.outer(within.diagonal().clamp_min(0).sqrt(), variance.sqrt())
    return _mean_matched(torch.where(scale > 1e-12, cross / scale.clamp_min(1e-12), 0.0))


def purities(moments: Moments) -> Tensor:
    """Return the (U,) largest share of one concept in each unit: ``max_c b_c^2 v_c / sum_c b_c^2 v_c``.

    b are the coefficients of a linear regression of the unit's code on all strengths at once, so correlated concepts
    are not confused, and v are the variances of the strengths. The share is 1 for a unit that follows one concept, 1/m
    for one that follows m concepts equally, and NaN for a unit whose code does not depend on any concept.
    """
    within, cross, variance = moments.covariances()
    # Concepts that never occur in this split have no variance, and get a coefficient of 0.
    coefficients = torch.linalg.pinv(within, hermitian=True, rtol=1e-9) @ cross
    importance = coefficients.square() * within.diagonal().clamp_min(0)[:, None]
    total = importance.sum(0)
    nothing = total <= 1e-9 * variance
    return torch.where(nothing, torch.nan, importance.amax(0) / total.clamp_min(1e-300))


def matched_directions(truth: Tensor, atoms: Tensor) -> float:
    """Return the mean over true directions of the cosine with the matched atom, in the best one-to-one matching.

    Truth (P, d), atoms (K, d). True directions without an atom, or with a negative cosine, count as 0. The mean is NaN
    without true directions.
    """
    if not len(truth):
        return math.nan
    return _mean_matched(_unit(truth) @ _unit(atoms).T)


def matched_directions_by_parent(truth: Tensor, parents: Tensor, atoms: Tensor, atom_parents: Tensor) -> float:
    """Return :func:`matched_directions` within each neuron, averaged over the true parts.

    The neurons are ``parents`` (P,) of the true parts, and ``atom_parents`` (K,) of the sub-units.
    """
    total = 0.0
    for parent in torch.unique(parents).tolist():
        parts = truth[parents == parent]
        total += len(parts) * matched_directions(parts, atoms[atom_parents == parent])
    return total / len(truth) if len(truth) else math.nan


def _mean_matched(similarity: Tensor) -> float:
    """Return the mean over rows of the similarity (rows, columns) in the best matching; negative or unmatched is 0."""
    matrix = similarity.clamp(-1, 1).numpy()
    matched = matrix[linear_sum_assignment(matrix, maximize=True)]
    return float(np.clip(matched, 0, None).sum() / len(matrix))


def _unit(rows: Tensor) -> Tensor:
    """Return rows of unit length in float64."""
    rows = rows.detach().cpu().double()
    unit_rows: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    return unit_rows


def adjusted_rand(table: Tensor) -> float:
    """Return the adjusted Rand index of a contingency table (K, P), with the true classes in columns.

    It is 1 for the same partition and 0 on average for chance (Hubert and Arabie 1985). It is NaN for fewer than two
    objects, or if there is only one true class.
    """
    counts = table.double()
    n = float(counts.sum())
    if n < 2 or int((counts.sum(0) > 0).sum()) < 2:
        return math.nan
    together = float((counts * (counts - 1)).sum()) / 2
    rows, columns = counts.sum(1), counts.sum(0)
    by_row, by_column = float((rows * (rows - 1)).sum()) / 2, float((columns * (columns - 1)).sum()) / 2
    expected = by_row * by_column / (n * (n - 1) / 2)
    largest = (by_row + by_column) / 2
    return (together - expected) / (largest - expected) if largest != expected else 1.0


def mean_shares(weights: Tensor, parent_weights: Tensor, members: Tensor) -> Tensor:
    """Return the (K, P) mean share ``w_cj / W_uj`` of each sub-unit c over the inputs j of each concept.

    Args:
        weights: (K, d_in) weights of one neuron's sub-units.
        parent_weights: (d_in,) weights of the neuron.
        members: (P, d_in) bool: inputs that belong to each concept.
    """
    shares = weights / parent_weights
    return torch.stack([shares[:, member].mean(1) for member in members], dim=1)


def is_separated(shares: Tensor, least: float = 0.9) -> bool:
    """Return True if each concept of a neuron has a different sub-unit with at least ``least`` of the concept's inputs.

    ``shares`` (K, P) are those of :func:`mean_shares`.
    """
    if len(shares) < shares.shape[1]:
        return False
    enough = (least <= shares.T).double().numpy()
    return bool(enough[linear_sum_assignment(enough, maximize=True)].all())
