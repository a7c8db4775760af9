"""Soft-WPMI: values of the published code, a brute-force twin, sparse units, and its null."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.steering.soft_wpmi import P_END, P_START, null_of_best, soft_wpmi


def made_up(n: int = 12, n_units: int = 4, n_concepts: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and positive activations that a formula gives."""
    cosines = torch.sin(torch.arange(n * n_concepts).reshape(n, n_concepts) * 1.7) * 0.3
    activations = torch.cos(torch.arange(n * n_units).reshape(n, n_units) * 0.9 + 1) + 1.5
    return torch.softmax(10 * cosines, 1), activations


#: Output of `soft_wpmi` of Trustworthy-ML-Lab/CLIP-dissect (similarity.py) for these matrices, with a = 10.
PUBLISHED = {
    (5, 1.0): [
        [-0.463483, 0.667808, -5.478235],
        [1.184676, -1.416065, -2.067031],
        [-2.371617, -1.135399, 1.096182],
        [-4.833768, 0.396143, -0.131767],
    ],
    (12, 0.6): [
        [-9.657584, -9.310488, -10.758604],
        [-9.875327, -9.303137, -9.941673],
        [-10.814078, -9.222191, -9.51289],
        [-11.197261, -9.311403, -9.848465],
    ],
}


@pytest.mark.parametrize(("top_k", "lam"), PUBLISHED)
def test_it_gives_what_the_published_code_gives(top_k: int, lam: float) -> None:
    probabilities, activations = made_up()
    options = {"only_active": False, "leave_out": False}
    scores = soft_wpmi(probabilities, activations, top_k=top_k, lam=lam, **options).scores
    torch.testing.assert_close(scores, torch.tensor(PUBLISHED[top_k, lam]), rtol=1e-4, atol=1e-4)


def brute_force(probabilities: np.ndarray, activations: np.ndarray, top_k: int, lam: float) -> np.ndarray:
    """Sum unit by unit, with the images on which a unit is active."""
    n, n_units = activations.shape
    k = min(top_k, n)

    def likelihood(unit: int, count: int, concept: int) -> float:
        order = sorted(range(n), key=lambda image: -activations[image, unit])
        total = 0.0
        for rank, image in enumerate(order[:count]):
            weight = P_START - rank / k * (P_START - P_END)
            total += math.log(1 + weight * (probabilities[image, concept] - 1) + 1e-7)
        return total

    active = [min(k, int((activations[:, unit] > 0).sum())) for unit in range(n_units)]
    scores = np.full((n_units, probabilities.shape[1]), -np.inf)
    for unit in range(n_units):
        for concept in range(probabilities.shape[1]) if active[unit] else ():
            others = [other for other in range(n_units) if active[other] >= active[unit] and other != unit]
            if not others:
                continue
            mean = np.mean([math.exp(likelihood(other, active[unit], concept)) for other in others])
            scores[unit, concept] = likelihood(unit, active[unit], concept) - lam * math.log(mean)
    return scores


@pytest.mark.parametrize("top_k", [1, 4, 9, 50])
def test_sparse_units_are_scored_on_the_images_on_which_they_are_active(top_k: int) -> None:
    generator = torch.Generator().manual_seed(2)
    probabilities = torch.softmax(2 * torch.randn(20, 6, generator=generator), 1)
    activations = torch.relu(torch.randn(20, 7, generator=generator) - torch.linspace(-1, 2.5, 7))
    activations[:, 3] = 0
    result = soft_wpmi(probabilities, activations, top_k=top_k, lam=0.8)
    expected = brute_force(probabilities.numpy().astype(float), activations.numpy().astype(float), top_k, 0.8)
    np.testing.assert_allclose(result.scores.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert result.n_images[3] == 0 and bool(torch.isneginf(result.scores[3]).all())


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, activations = made_up(30, 9, 5)
    expected = soft_wpmi(probabilities, activations, top_k=6)
    monkeypatch.setattr("harness.steering.soft_wpmi._BLOCK", 1)
    blocked = soft_wpmi(probabilities, activations, top_k=6)
    torch.testing.assert_close(blocked.scores, expected.scores)
    torch.testing.assert_close(blocked.log_common, expected.log_common)


def test_random_units_are_above_the_null_as_often_as_chance_says() -> None:
    generator = torch.Generator().manual_seed(5)
    probabilities = torch.softmax(3 * torch.randn(60, 12, generator=generator), 1)
    activations = torch.rand(60, 400, generator=generator)
    result = soft_wpmi(probabilities, activations, top_k=10)
    null = null_of_best(probabilities, result, top_k=10, n_draws=400, seed=1)
    assert null.shape == (400, 10) and torch.equal(
        null, null_of_best(probabilities, result, top_k=10, n_draws=400, seed=1)
    )
    above = (result.scores.amax(1) > null[:, 9].quantile(0.95)).float().mean()
    # 20 of 400 are expected; 3 standard errors of both.
    assert 0.01 < float(above) < 0.1


@pytest.mark.parametrize(("n_perfect", "n_concepts", "n_noise"), [(3, 4, 0), (19, 20, 0), (10, 50, 200)])
def test_perfect_units_are_above_the_null_however_few_units_there_are(
    n_perfect: int, n_concepts: int, n_noise: int
) -> None:
    generator = torch.Generator().manual_seed(7)
    n = 20 * n_concepts
    concept = torch.arange(n) % n_concepts
    probabilities = torch.softmax(6 * torch.nn.functional.one_hot(concept, n_concepts).float(), 1)
    perfect = (concept[:, None] == torch.arange(n_perfect)) * (1 + torch.rand(n, n_perfect, generator=generator))
    activations = torch.cat([perfect, torch.rand(n, n_noise, generator=generator)], 1)
    result = soft_wpmi(probabilities, activations, top_k=10)
    null = null_of_best(probabilities, result, top_k=10, n_draws=200, seed=1)
    assert result.scores[:n_perfect].argmax(1).tolist() == list(range(n_perfect))
    assert bool((result.scores[:n_perfect].amax(1) > null[:, 9].quantile(0.95)).all())


def test_a_unit_without_another_one_has_no_label() -> None:
    probabilities, activations = made_up(n_units=1)
    assert bool(torch.isneginf(soft_wpmi(probabilities, activations, top_k=5).scores).all())


def test_units_of_a_concept_are_far_above_the_null() -> None:
    generator = torch.Generator().manual_seed(6)
    concept = torch.arange(60) % 6
    probabilities = torch.softmax(4 * torch.nn.functional.one_hot(concept, 6).float(), 1)
    activations = torch.nn.functional.one_hot(concept, 6).float() + 0.1 * torch.rand(60, 6, generator=generator)
    result = soft_wpmi(probabilities, activations, top_k=10)
    null = null_of_best(probabilities, result, top_k=10, n_draws=200, seed=1)
    assert result.scores.argmax(1).tolist() == list(range(6))
    assert bool((result.scores.amax(1) > null[:, 9].max()).all())
