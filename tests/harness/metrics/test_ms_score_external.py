"""External MS score: the sum over pairs of Pach et al., closed forms, streaming, and units that say nothing."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from harness.activations.unit_statistics import UnitStatistics
from harness.errors import ArgumentError
from harness.metrics import ms_score_external
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.ms_score_external import AllPairs, MSScoreExternal


def by_pairs(embeddings: Tensor, activations: Tensor) -> list[float]:
    """The published sum over pairs, with min-max normalised activations."""
    low, high = activations.double().amin(0), activations.double().amax(0)
    weights = (activations.double() - low) / (high - low)
    values = []
    for w in weights.T:
        pairs = list(itertools.combinations(range(len(w)), 2))
        similar = [
            float(functional.cosine_similarity(embeddings[i].double(), embeddings[j].double(), 0)) for i, j in pairs
        ]
        products = [float(w[i] * w[j]) for i, j in pairs]
        total = sum(products)
        values.append(sum(p * s for p, s in zip(products, similar, strict=True)) / total if total else math.nan)
    return values


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(1, 6), st.integers(1, 5), st.floats(-1e3, 1e3), st.integers(0, 10**6))
def test_is_the_sum_over_all_pairs_whatever_the_batches(n: int, d: int, size: int, offset: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(n, d, generator=generator, dtype=torch.float64)
    activations = torch.rand(n, 4, generator=generator, dtype=torch.float64) + offset
    expected = by_pairs(embeddings, activations)
    assert ms_score_external(embeddings, activations).tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
    pairs = AllPairs()
    directions = functional.normalize(embeddings, dim=1)
    for rows in torch.arange(n).split(size):
        pairs.update(directions[rows], activations[rows])
    assert pairs.compute().tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_closed_forms() -> None:
    """Equal images, two orthogonal halves, opposite images; then one active image, and none that differs."""
    e = torch.zeros(4, 2)
    e[:, 0] = torch.tensor([3.0, 1.0, 0.0, 0.0])
    e[2:, 1] = torch.tensor([1.0, -2.0])
    x = torch.tensor([[1.0, 1, 0, 1, 5], [1, 1, 0, 0, 5], [0, 1, 1, 0, 5], [0, 1, 1, 0, 5]])
    x[:, 1] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    values = ms_score_external(e, x).tolist()
    assert values == pytest.approx([1, 0, -1, math.nan, math.nan], nan_ok=True)


def test_units_without_meaning_have_the_mean_similarity_of_all_images() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = functional.normalize(torch.randn(400, 16, generator=generator) + 0.5, dim=1)
    values = ms_score_external(embeddings, torch.rand(400, 60, generator=generator))
    pairs = AllPairs()
    pairs.update(embeddings, torch.ones(400, 1))
    null = float((embeddings.double().sum(0) ** 2).sum() - 400) / (400 * 399)
    assert pairs.mean_similarity() == pytest.approx(null, abs=1e-6)
    assert float(values.mean()) == pytest.approx(null, abs=0.01)


@pytest.mark.parametrize(
    ("embeddings", "activations", "words"),
    [
        (torch.rand(3, 2), torch.rand(4, 2), "must have the shapes"),
        (torch.rand(3), torch.rand(3, 2), "must have the shapes"),
        (torch.zeros(3, 2), torch.rand(3, 2), "not zero"),
        (torch.rand(3, 2), torch.full((3, 2), math.inf), "must be finite"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(embeddings: Tensor, activations: Tensor, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        ms_score_external(embeddings, activations)


def measure(embeddings: Tensor, codes: Tensor, size: int = 4) -> dict[str, Score]:
    """Scores by name for unit-length embeddings (n, d) and codes (n, T, n_units)."""
    baseline: Any = SimpleNamespace(
        external=SimpleNamespace(embeddings=embeddings, encoder="another", fingerprint="f"), images=SimpleNamespace()
    )
    metric, units, empty = MSScoreExternal(baseline), UnitStatistics(codes.shape[-1], 3), torch.zeros(0)
    for index in torch.arange(len(codes)).split(size):
        peaks = units.update(codes[index], index)
        metric.update(Batch(index, index, codes[index], codes[index], codes[index], empty, empty, *peaks))
    method: Any = SimpleNamespace(parents=None)
    return {score.metric: score for score in metric.compute(Outcome(method, units, baseline, 2))}


def test_of_a_pass_dead_units_are_left_out_and_unreadable_images_too() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = functional.normalize(torch.randn(20, 5, generator=generator), dim=1)
    codes = torch.rand(20, 3, 4, generator=generator)
    codes[..., 2] = -1 - codes[..., 2]
    codes[..., 3] = 0.5
    scores = measure(embeddings, codes)
    expected = by_pairs(embeddings, codes.amax(1)[:, :2])
    main = scores["ms_score_external"]
    assert main.value == pytest.approx(sum(expected) / 2, abs=1e-6) and main.n == 2
    assert scores["ms_score_external_undefined"].value == 1  # the unit of equal activations
    null = scores["ms_score_external_null"].value
    assert scores["ms_score_external_adjusted"].value == pytest.approx((main.value - null) / (1 - null))
    missing = embeddings.clone()
    missing[[3, 11]] = torch.nan
    kept = torch.tensor([index for index in range(20) if index not in (3, 11)])
    assert measure(missing, codes, size=3)["ms_score_external"].value == pytest.approx(
        sum(by_pairs(embeddings[kept], codes.amax(1)[kept][:, :2])) / 2, abs=1e-6
    )


def test_planted_units_are_told_from_random_ones() -> None:
    """Images of six kinds: a unit per kind, against as many units of random activations."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 6, (300,), generator=generator)
    embeddings = functional.normalize(torch.eye(6)[kind] + 0.3 * torch.randn(300, 6, generator=generator), dim=1)
    truth = torch.eye(6)[kind][:, None] + 0.1 * torch.rand(300, 1, 6, generator=generator)
    random = truth[torch.randperm(300, generator=generator)]
    planted, control = measure(embeddings, truth, 50), measure(embeddings, random, 50)
    assert planted["ms_score_external_adjusted"].value > 0.3
    error = control["ms_score_external_adjusted"].uncertainty
    assert error is not None and abs(control["ms_score_external_adjusted"].value) < 3 * error + 0.01
