"""Archetype points follow from the tokens alone, so that fits of several seeds have nearly the same dictionary."""

from __future__ import annotations

import pytest
import torch
from in_memory import small_layer
from planted import planted
from torch import Tensor

import methods
from harness.metrics import matched_cosine
from methods.sae import archetypal
from methods.sae.archetypal import ArchetypalAutoencoder, ArchetypalSAE, archetype_points
from methods.training.normaliser import Normaliser

pytestmark = pytest.mark.run

SOURCES = ["kmeans", "tokens"]


def trainee(seed: int, source: str) -> ArchetypalAutoencoder:
    _, tokens = small_layer()
    config = {"expansion_factor": 3, "k": 4, "point_source": source, "encoder_start": "library"}
    method = methods.create("archetypal_sae", **config)
    assert isinstance(method, ArchetypalSAE)
    return method.trainee(18, tokens, Normaliser(tokens, "output"), seed)


@pytest.mark.parametrize("source", SOURCES)
def test_two_seeds_have_the_same_points_and_another_encoder(source: str) -> None:
    one, other = trainee(1, source), trainee(2, source)
    assert torch.equal(one.points, other.points)
    assert torch.equal(one.atoms(), other.atoms())
    assert not torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("source", SOURCES)
def test_atoms_of_two_seeds_are_far_more_alike_than_those_of_topk(source: str) -> None:
    data = planted(n=2048)
    config = {"expansion_factor": 2, "k": 3, "epochs": 4, "batch_size": 256, "encoder_start": "library"}

    def similarity(name: str, **more: str) -> float:
        fits = [methods.create(name, **config, **more).fit(data.tokens, data.site, seed=seed) for seed in (42, 7)]
        return float(matched_cosine(*(fit.dictionary().atoms for fit in fits)))

    assert similarity("archetypal_sae", point_source=source) > 0.85
    assert similarity("topk_sae") < 0.6


def quantisation(tokens: Tensor, points: Tensor) -> float:
    return float(torch.cdist(tokens, points).amin(1).square().mean())


def test_centres_are_nearer_to_the_tokens_than_drawn_tokens_are() -> None:
    data = planted(n=2048)
    normaliser = Normaliser(data.tokens, "output")
    x = normaliser(data.tokens.fields["output"])
    centres, drawn = (archetype_points(data.tokens, normaliser, 64, source=source) for source in SOURCES)
    assert quantisation(x, centres) < 0.8 * quantisation(x, drawn)
    assert bool((x[:, None] == drawn[None]).all(2).any(0).all()), "drawn points are tokens"


def test_more_points_than_the_tokens_of_the_k_means_are_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archetypal, "KMEANS_TOKENS", 10)
    _, tokens = small_layer()
    for number in (5, 30, tokens.n):
        points = archetype_points(tokens, Normaliser(tokens, "output"), number, source="kmeans")
        assert points.shape == (number, 6) and bool(points.isfinite().all())


def test_no_two_centres_are_equal() -> None:
    _, tokens = small_layer()
    points = archetype_points(tokens, Normaliser(tokens, "output"), 120, source="kmeans")
    distances = torch.cdist(points, points) + 9 * torch.eye(120)
    assert float(distances.amin()) > 1e-3
