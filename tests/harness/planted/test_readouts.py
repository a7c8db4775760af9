"""Planted neurons on real tokens: readouts of clusters, on drawn tokens and once on the packaged network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional

from harness import backbones
from harness.errors import UserError
from harness.metrics.ms_score import ms_score
from harness.planted import photographs
from harness.planted.photographs import PHOTOGRAPHS, PhotographsSetting, parse, planted_layer
from harness.planted.readouts import RIDGE, draw_mixtures, find_concepts, fit_parts
from harness.planted.truth import PlantedLayer, Truth

D_IN, N_CLUSTERS = 40, 7


def drawn_tokens(n: int, seed: int, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Tokens (n, D_IN) of clusters around fixed directions, and the cluster of each. Cluster 0 has half of them."""
    centres = functional.normalize(torch.randn(N_CLUSTERS, D_IN, generator=torch.Generator().manual_seed(0)), dim=1)
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.randint(0, 2 * N_CLUSTERS - 2, (n,), generator=generator).sub(N_CLUSTERS - 2).clamp_min(0)
    return 1 + 3 * centres[cluster] + noise * torch.randn(n, D_IN, generator=generator), cluster


class TestConcepts:
    def test_are_the_clusters_but_the_most_frequent_one(self) -> None:
        q, _ = drawn_tokens(600, 1)
        # A seed with which k-means finds the clusters: others end in a local optimum that splits the largest.
        concepts = find_concepts(q, N_CLUSTERS - 1, seed=1)
        held_out, cluster = drawn_tokens(400, 2)
        strengths = concepts.strengths(held_out)
        assert strengths.shape == (400, N_CLUSTERS - 1) and set(strengths.unique().tolist()) == {0.0, 1.0}
        table = functional.one_hot(cluster, N_CLUSTERS).float().T @ strengths
        assert float(table[0].sum()) == 0, "the most frequent cluster is no concept"
        assert bool((table[1:] > 0).sum(0).eq(1).all()) and bool((table[1:] > 0).sum(1).eq(1).all())

    def test_strengths_keep_the_shape_of_the_tokens(self) -> None:
        q, _ = drawn_tokens(60, 1)
        concepts = find_concepts(q, 3, seed=0)
        assert torch.equal(concepts.strengths(q.reshape(5, 12, D_IN)), concepts.strengths(q).reshape(5, 12, 3))


def test_mixtures_are_of_two_concepts_and_balanced() -> None:
    mixtures = draw_mixtures(12, 24, torch.Generator().manual_seed(0))
    assert bool((mixtures[:, 0] != mixtures[:, 1]).all())
    assert torch.bincount(mixtures.flatten()).tolist() == [4] * 12


class TestParts:
    def parts(self, seed: int = 0) -> tuple[Tensor, Tensor, Truth]:
        q, _ = drawn_tokens(600, 1)
        setting = PhotographsSetting("drawn", 0, n_concepts=N_CLUSTERS - 1)
        return planted_layer(q.reshape(60, 10, D_IN), setting, seed, frozenset({"seen.jpg"}))

    def test_seeds_are_different_layers(self) -> None:
        assert torch.equal(self.parts(1)[0], self.parts(1)[0]) and not torch.equal(self.parts(1)[0], self.parts(2)[0])

    def test_a_mask_of_the_weights_recovers_each_part_exactly(self) -> None:
        weight, bias, truth = self.parts()
        parts = truth.parts
        assert parts is not None and parts.exclusive_inputs is not None
        members = parts.exclusive_inputs
        assert torch.equal(members * weight[parts.parent], parts.weights)
        assert bool((members[0::2] ^ members[1::2]).all()), "two halves of the inputs"
        assert torch.equal(torch.zeros_like(bias).index_add_(0, parts.parent, parts.biases), bias)

    def test_are_ridge_regressions(self) -> None:
        q, _ = drawn_tokens(300, 1)
        strengths = find_concepts(q, 4, seed=0).strengths(q)
        parts = fit_parts(q, strengths, torch.tensor([[2, 0]]), torch.Generator().manual_seed(3))
        assert parts.exclusive_inputs is not None
        for part, concept in enumerate((2, 0)):
            inputs = parts.exclusive_inputs[part]
            penalty = RIDGE * float(q.double().var(0, correction=0).mean()) * len(q)
            twin = Ridge(alpha=penalty).fit(q[:, inputs].double().numpy(), strengths[:, concept].double().numpy())
            assert parts.weights[part, inputs].numpy() == pytest.approx(twin.coef_, abs=1e-6)
            assert float(parts.biases[part]) == pytest.approx(float(twin.intercept_), abs=1e-5)

    def test_on_held_out_tokens_the_truth_is_more_monosemantic_than_a_random_split(self) -> None:
        weight, bias, truth = self.parts()
        assert truth.parts is not None
        q, _ = drawn_tokens(1000, 5)
        outputs = functional.linear(q, weight, bias)
        generator = torch.Generator().manual_seed(1)

        def mean_ms(weights: Tensor) -> float:
            codes = functional.linear(q, weights)
            scores = [ms_score(outputs[top], torch.ones(20)) for top in codes.topk(20, dim=0).indices.T]
            return sum(scores) / len(scores)

        member = torch.rand(weight.shape, generator=generator) < 0.5
        random = torch.stack([member * weight, ~member * weight], dim=1).flatten(0, 1)
        assert mean_ms(truth.parts.weights) > mean_ms(random) + 0.03

    def test_images_that_the_concepts_were_fitted_on_are_refused(self) -> None:
        *_, truth = self.parts()
        records = [SimpleNamespace(name="new.jpg"), SimpleNamespace(name="seen.jpg")]

        class Images(SimpleNamespace):
            def __len__(self) -> int:
                return len(self.records)

        baseline = SimpleNamespace(images=Images(records=records))
        with pytest.raises(UserError, match=r"1 of the 2 evaluation images, such as seen\.jpg"):
            truth.strengths(baseline)  # type: ignore[arg-type]


def test_names_of_planted_photographs() -> None:
    assert parse("photographs_9") == (PHOTOGRAPHS["photographs_9"], 0)
    assert parse("photographs_9_24@3") == (PHOTOGRAPHS["photographs_9_24"], 3)
    with pytest.raises(UserError, match=r"no planted photographs 'photographs'.*photographs_"):
        parse("photographs")
    with pytest.raises(UserError, match="not a whole number from 0"):
        parse("photographs_9@x")


@pytest.mark.slow
def test_the_packaged_network_computes_the_planted_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    few = photographs.concept_images().subset(range(0, 120, 20))
    monkeypatch.setattr(photographs, "concept_images", lambda: few)
    photographs.concept_tokens.cache_clear()
    try:
        loaded = backbones.load("planted:photographs_5@0")
        tokens = photographs.concept_tokens(5)
    finally:
        photographs.concept_tokens.cache_clear()
    assert tokens.shape == (6, 1 + photographs.TOKENS_PER_IMAGE, 1536)
    layer = loaded.model.units
    assert isinstance(layer, PlantedLayer) and layer.weight.shape == (24, 1536)
    # The CLS token of an image is the same in both passes, so its output is that of the layer.
    captured: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    image = loaded.preprocessing.center(few.open(0))[None]
    assert loaded.features(image).shape == (1, 24)
    hook.remove()
    assert captured[0][0, 0].numpy() == pytest.approx(tokens[0, 0].numpy(), abs=1e-3)
