"""Concepts of real tokens, and neurons that are sums of linear readouts of two concepts on separate inputs.

A *concept* is one k-means cluster of tokens. A *part* is the ridge regression of a concept's membership on half of the
input dimensions. A neuron is the sum of two parts of different concepts, one on each half, so a 0/1 mask of its weights
recovers each part exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.planted.truth import TrueParts
from methods import numerics

#: Penalty of the ridge regression, as a multiple of the mean variance of an input. The correlation of a readout with
#: its concept on held-out tokens is largest near this value (.66 at 1, .63 at .01, .61 at 10; 24 concepts, block 9).
RIDGE = 1.0


class Concepts(NamedTuple):
    """Concepts of tokens: every token has the nearest of C + 1 centroids, of which one is no concept.

    The most frequent cluster is no concept. Memberships of all clusters would sum to 1, so that the regression of a
    unit on all concepts (:func:`harness.planted.recovery.purities`) had no unique solution.
    """

    mean: Tensor
    """(d_in,) mean input, subtracted before tokens are normalised"""
    centroids: Tensor
    """(C + 1, d_in), the centroid that is no concept last"""

    def strengths(self, q: Tensor) -> Tensor:
        """Return (..., C) 1 for the concept of each token of q (..., d_in), 0 elsewhere."""
        distances = torch.cdist(_directions(q.flatten(0, -2), self.mean), self.centroids)
        members = functional.one_hot(distances.argmin(1), len(self.centroids))[:, :-1]
        return members.to(q.dtype).reshape(*q.shape[:-1], -1)


def find_concepts(q: Tensor, n_concepts: int, seed: int) -> Concepts:
    """Cluster the directions of centred tokens q (n, d_in) into ``n_concepts + 1`` clusters with k-means."""
    from sklearn.cluster import KMeans

    mean = q.mean(0)
    with numerics.sklearn_threads():
        model = KMeans(n_concepts + 1, n_init=1, random_state=seed).fit(_directions(q, mean).numpy())
    centroids = torch.from_numpy(model.cluster_centers_).to(q.dtype)
    frequency = torch.bincount(torch.from_numpy(model.labels_).long(), minlength=n_concepts + 1)
    order = torch.argsort(frequency, stable=True)
    return Concepts(mean, centroids[order])


def draw_mixtures(n_concepts: int, n_units: int, generator: torch.Generator) -> Tensor:
    """Return the (n_units, 2) concepts of each neuron. The numbers of neurons per concept differ by at most one."""
    rows: list[Tensor] = []
    while len(rows) < n_units:
        order = torch.randperm(n_concepts, generator=generator)
        rows += list(order[: n_concepts // 2 * 2].reshape(-1, 2))
    return torch.stack(rows[:n_units])


def fit_parts(q: Tensor, strengths: Tensor, mixtures: Tensor, generator: torch.Generator) -> TrueParts:
    """Return two parts per neuron, each a readout of one of its concepts on one half of the inputs.

    Args:
        q: (n, d_in) tokens to fit on.
        strengths: (n, C) membership of each token.
        mixtures: (n_units, 2) concepts of each neuron.
        generator: source of the halves.
    """
    n, d_in = q.shape
    mean = q.mean(0)
    centred = (q - mean).double()
    covariance = centred.T @ centred / n
    target = strengths.double()
    share = target.mean(0)
    with_concept = centred.T @ (target - share) / n
    penalty = RIDGE * covariance.diagonal().mean() * torch.eye(d_in, dtype=torch.float64)
    weights = torch.zeros(mixtures.numel(), d_in)
    biases = torch.zeros(mixtures.numel())
    members = torch.zeros(mixtures.numel(), d_in, dtype=torch.bool)
    for part, concept in enumerate(mixtures.flatten().tolist()):
        if part % 2 == 0:
            order = torch.randperm(d_in, generator=generator)
        inputs = order[part % 2 :: 2].sort().values
        solved = torch.linalg.solve((covariance + penalty)[inputs][:, inputs], with_concept[inputs, concept])
        weights[part, inputs] = solved.float()
        # The intercept: 0 is then the output of a readout that expects no member.
        biases[part] = float(share[concept]) - float(weights[part].double() @ mean.double())
        members[part, inputs] = True
    parent = torch.arange(len(mixtures)).repeat_interleave(2)
    return TrueParts(weights, biases, parent, mixtures.flatten(), members)


def _directions(q: Tensor, mean: Tensor) -> Tensor:
    """Return rows q - mean (n, d_in) of unit length."""
    return functional.normalize(q - mean.to(q), dim=-1)
