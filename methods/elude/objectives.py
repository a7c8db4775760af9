"""Objectives of the search for rho: how far each sub-unit is active on its own cluster and on no other.

All objectives use the same matrix ``M[c, k] = sum_j alpha_cj m_kj``: the mean activation of sub-unit c on cluster k,
from the shares alpha (K, d_in) and the mean contributions m (K, d_in), without the bias. So no objective needs a pass
over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Objective = Literal["contrast", "ratio", "share"]


def contrast(activations: Tensor) -> Tensor:
    """Return the mean over c of ``M[c, c] - mean_{k != c} M[c, k]`` for activations M (..., K, K); a bias cancels."""
    diagonal, others = _diagonal_and_others(activations)
    return (diagonal - others).mean(-1)


def ratio(activations: Tensor) -> Tensor:
    """Return ``sum_c M+[c, c] / sum_c mean_{k != c} M+[c, k]`` with ``M+ = max(M, 0)``, for activations M (..., K, K).

    The sums are taken before dividing, since a single sub-unit that is silent on the other clusters would make a mean
    of ratios infinite. The result is infinite if no sub-unit is active on another's cluster, and 0 if none is active on
    its own.
    """
    diagonal, others = (part.sum(-1) for part in _diagonal_and_others(activations.clamp_min(0)))
    return torch.where(diagonal > 0, diagonal / others, torch.zeros_like(diagonal))


def share(activations: Tensor) -> Tensor:
    """Return the mean over c of ``M+[c, c] / sum_k M+[c, k]``, in [0, 1], for activations M (..., K, K); 0 / 0 is 0."""
    positive = activations.clamp_min(0)
    diagonal = torch.diagonal(positive, dim1=-2, dim2=-1)
    return torch.where(diagonal > 0, diagonal / positive.sum(-1), torch.zeros_like(diagonal)).mean(-1)


OBJECTIVES: dict[str, Callable[[Tensor], Tensor]] = {"contrast": contrast, "ratio": ratio, "share": share}


def best_of(values: Tensor) -> int:
    """Return the index of the largest of values (m,), which may be infinite; ties go to the first.

    Values are compared to ten significant digits of the largest finite one, so that ties do not depend on the order of
    summation.
    """
    finite = torch.where(values.isfinite(), values.abs(), torch.zeros_like(values))
    scale = finite.max().clamp_min(torch.finfo(values.dtype).tiny)
    return int(torch.argmax(torch.round(values / scale * 1e10)))


def _diagonal_and_others(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activation on the own cluster, and the mean of those on the others, (..., K) each."""
    diagonal = torch.diagonal(activations, dim1=-2, dim2=-1)
    return diagonal, (activations.sum(-1) - diagonal) / (activations.shape[-1] - 1)
