"""AUROC of every unit for every class: the probability that it is more active on an image of the class than on another.

Mann and Whitney (1947): with the mean ranks r of the activations (ties share their mean), n_1 images of the class and
n_0 others, ``AUROC = (sum of r over the class - n_1 (n_1 + 1) / 2) / (n_1 n_0)``. 0.5 is chance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def class_auroc(activations: Tensor, members: Tensor) -> Tensor:
    """Return the AUROC (n_units, n_classes) float64; NaN for a class without images, or with all of them.

    Args:
        activations: (n, n_units).
        members: (n, n_classes) bool, True for the images of a class.
    """
    return auroc_of_ranks(mean_ranks(activations), members)


def auroc_of_ranks(ranks: Tensor, members: Tensor) -> Tensor:
    """Return :func:`class_auroc` from the :func:`mean_ranks` (n, n_units) of the activations."""
    n_class = members.sum(0).double()
    n_other = len(members) - n_class
    sums = ranks.T @ members.double()
    return (sums - n_class * (n_class + 1) / 2) / (n_class * n_other)


def mean_ranks(values: Tensor) -> Tensor:
    """Return the ranks 1 to n of each column of (n, m) as float64; equal values share the mean of their ranks."""
    from scipy.stats import rankdata

    return torch.from_numpy(np.asarray(rankdata(values.numpy(), axis=0), dtype=np.float64))


def null_of_best(
    activations: Tensor, members: Tensor, *, n_draws: int, seed: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Return the best AUROC of each unit when the images are permuted, (n_draws, n_units) on the CPU.

    Args:
        activations: (n, n_units).
        members: (n, n_classes) bool.
        n_draws: number of permutations.
        seed: random seed.
        device: where the products of ranks and permuted classes are computed, ``2 n n_units n_classes`` FLOPs each.
    """
    generator = np.random.default_rng(seed)
    ranks = mean_ranks(activations).T.contiguous().to(device)
    n_class = members.sum(0).double()
    usable = (n_class > 0) & (n_class < len(members))
    n_class, columns = n_class[usable].to(device), members[:, usable].double().to(device)
    pairs = n_class * (len(members) - n_class)
    best = torch.empty(n_draws, activations.shape[1], dtype=torch.float64)
    for draw in range(n_draws):
        permuted = columns[torch.from_numpy(generator.permutation(len(members))).to(device)]
        best[draw] = ((ranks @ permuted - n_class * (n_class + 1) / 2) / pairs).amax(1).cpu()
    return best
