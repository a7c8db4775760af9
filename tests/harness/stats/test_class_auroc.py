"""AUROC of units for classes: closed forms, ties, and a brute-force twin."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from harness.stats.class_auroc import class_auroc, null_of_best


def test_closed_forms() -> None:
    members = torch.tensor([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]], dtype=torch.bool)
    activations = torch.tensor([[3.0, 0, 1], [2, 0, 1], [1, 0, 2], [0, 0, 2]])
    scores = class_auroc(activations, members)
    assert (
        scores[0, :2].tolist() == [1, 0] and scores[1, :2].tolist() == [0.5, 0.5] and scores[2, :2].tolist() == [0, 1]
    )
    assert bool(scores[:, 2].isnan().all()), "all images are of the class"


def test_it_counts_pairs_of_images_and_half_of_the_ties() -> None:
    generator = torch.Generator().manual_seed(1)
    activations = torch.randint(0, 4, (15, 3), generator=generator).float()
    members = torch.randint(0, 2, (15, 2), generator=generator).bool()
    scores = class_auroc(activations, members)
    for unit, column in itertools.product(range(3), range(2)):
        inside = activations[members[:, column], unit].tolist()
        outside = activations[~members[:, column], unit].tolist()
        pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x in inside for y in outside]
        assert abs(float(scores[unit, column]) - np.mean(pairs)) < 1e-12


def test_the_null_is_that_of_permuted_images() -> None:
    generator = torch.Generator().manual_seed(2)
    members = torch.nn.functional.one_hot(torch.arange(40) % 4, 5).bool()
    activations = torch.rand(40, 300, generator=generator)
    null = null_of_best(activations, members, n_draws=200, seed=3)
    assert null.shape == (200, 300) and torch.equal(null, null_of_best(activations, members, n_draws=200, seed=3))
    best = class_auroc(activations, members)[:, :4].amax(1)
    above = (best > null.quantile(0.95, dim=0)).float().mean()
    assert 0.01 < float(above) < 0.1
