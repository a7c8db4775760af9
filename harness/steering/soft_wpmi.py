"""Soft-WPMI of CLIP-Dissect: how well each concept describes the images on which a unit is most active.

Oikarinen and Weng, "CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision Networks" (ICLR 2023),
section 3.2 and its published code. For a unit with the images ``x_1, x_2, ...`` in descending order of activation,

    log p(B | c) = sum over i < k of log(1 + p_i (P[x_i, c] - 1) + 1e-7),   p_i = .998 - (i / k) (.998 - .97),
    soft-WPMI(c) = log p(B | c) - lam log p_k(c),

where ``P[x, c]`` is the probability of the concept c given the image x, ``p_i`` the probability that image i belongs to
the unit's images B, and ``p_k(c)`` the mean of ``p(B | c)`` over all units, a measure of how common the concept is.

Two extensions. A unit that is active on fewer than k images is scored on these alone, and compared with the same number
of images of the other units. And a unit is left out of its own ``p_k(c)``: in the published code, where it is among the
units of the mean, no score exceeds the log of their number, so that units of a small layer could not be told from
chance. ``only_active=False, leave_out=False`` gives the values of the published code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

P_START, P_END = 0.998, 0.97
MIN_PROBABILITY = 1e-7

#: Numbers of a block of the computation: 100 MB.
_BLOCK = 25_000_000


class SoftWPMI(NamedTuple):
    """Scores of the concepts for the units, and what their null needs."""

    scores: Tensor
    """(n_units, n_concepts) float32; -inf for units without an active image, or without another unit to compare with"""
    n_images: Tensor
    """(n_units,) int64 number of images that each unit was scored on, at most k"""
    log_common: Tensor
    """(k, n_concepts) ``lam log p_j(c)`` of all units for the first j + 1 images; -inf where no unit has as many"""


def soft_wpmi(
    probabilities: Tensor,
    activations: Tensor,
    *,
    top_k: int,
    lam: float = 1.0,
    only_active: bool = True,
    leave_out: bool = True,
) -> SoftWPMI:
    """Score every concept for every unit.

    Args:
        probabilities: (n, n_concepts) ``P[x, c]``, rows sum to 1.
        activations: (n, n_units). Of equal activations, that of the lower image comes first.
        top_k: number of images k; at most n.
        lam: weight of how common the concept is.
        only_active: leave out images on which the unit is not positive; False: as the published code.
        leave_out: compare a unit with the others; False: with all units, itself included, as the published code.
    """
    n_units, n_concepts = activations.shape[1], probabilities.shape[1]
    k = min(top_k, len(probabilities))
    n_images = (activations > 0).sum(0).clamp(max=k) if only_active else torch.full((n_units,), k)
    order = activations.argsort(dim=0, descending=True, stable=True)[:k].T
    scores = torch.full((n_units, n_concepts), -torch.inf)
    log_sum = torch.full((k, n_concepts), -torch.inf, dtype=torch.float64)
    count = torch.zeros(k, dtype=torch.int64)
    alive = n_images.nonzero()[:, 0]
    size = max(1, _BLOCK // max(k * n_concepts, 1))
    for block in alive.split(size):
        sums = cumulative(probabilities, order[block], top_k)
        n = n_images[block]
        scores[block] = sums[torch.arange(len(block)), n - 1]
        # Units with fewer images say nothing about what is common among more.
        reached = torch.arange(k)[None] < n[:, None]
        masked = sums.double().masked_fill(~reached[:, :, None], -torch.inf)
        log_sum = torch.logaddexp(log_sum, masked.logsumexp(0))
        count += reached.sum(0)
    log_common = lam * (log_sum - count.clamp(min=1).log()[:, None])
    for block in alive.split(size):
        n = n_images[block] - 1
        likelihood, total, n_others = scores[block].double(), log_sum[n], count[n][:, None]
        if leave_out:
            # log(total - own) = log(total) + log(1 - own / total); the smallest difference is that of float64.
            share = (likelihood - total).exp().clamp(max=1 - 1e-15)
            common = total + torch.log1p(-share) - (n_others - 1).clamp(min=1).log()
            values = (likelihood - lam * common).masked_fill(n_others < 2, -torch.inf)
        else:
            values = likelihood - log_common[n]
        scores[block] = values.float()
    return SoftWPMI(scores, n_images, log_common.float())


def cumulative(probabilities: Tensor, images: Tensor, top_k: int) -> Tensor:
    """Return ``log p(B | c)`` of the first 1, 2, ..., k of the images (m, k) of m units, as (m, k, n_concepts)."""
    k = images.shape[1]
    weight = P_START - torch.arange(k) / min(top_k, len(probabilities)) * (P_START - P_END)
    return torch.log(1 + weight[:, None] * (probabilities[images] - 1) + MIN_PROBABILITY).cumsum(1)


def null_of_best(probabilities: Tensor, result: SoftWPMI, *, top_k: int, n_draws: int, seed: int) -> Tensor:
    """Return the best score of units whose images are permuted, (n_draws, k): column j is for j + 1 images.

    A score depends on the order of the images alone, so one null serves all units with the same number of images.
    """
    k, n_concepts = result.log_common.shape
    generator = np.random.default_rng(seed)
    best = []
    size = max(1, _BLOCK // max(k * n_concepts, 1))
    finite = torch.isfinite(result.log_common).all(1)
    for start in range(0, n_draws, size):
        n = min(size, n_draws - start)
        images = np.stack([generator.choice(len(probabilities), k, replace=False) for _ in range(n)])
        sums = cumulative(probabilities, torch.from_numpy(images), top_k)
        best.append((sums - result.log_common).amax(2))
    null = torch.cat(best)
    return null.masked_fill(~finite[None], math.nan)
