"""Metrics: known points, properties, and brute-force twins of the streaming forms."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import MemoryTokens

from harness.activations.baseline_passes import CrossImageSimilarity
from harness.activations.unit_statistics import UnitStatistics
from harness.errors import UserError
from harness.metrics import R2, ms_score, r2
from harness.metrics.base import Outcome
from harness.metrics.ms_score import MSScore
from harness.stats import clustered_standard_error, jackknife_standard_error, proportion_standard_error


class TestMSScore:
    def test_known_points(self) -> None:
        ones = torch.ones(100)
        assert ms_score(torch.eye(100), ones) == pytest.approx(0, abs=1e-12)
        assert ms_score(torch.ones(100, 3), ones) == pytest.approx(1)
        assert ms_score(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.ones(2)) == pytest.approx(-1)
        groups = torch.zeros(100, 2)
        groups[:50, 0] = groups[50:, 1] = 1
        assert ms_score(groups, ones) == pytest.approx(0.494949, abs=1e-6)
        simplex = torch.eye(7) - 1 / 7
        assert ms_score(simplex, torch.ones(7)) == pytest.approx(-1 / 6)

    def test_undefined_is_nan_never_zero(self) -> None:
        e = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        assert math.isnan(ms_score(e, torch.zeros(4)))
        assert math.isnan(ms_score(e, torch.tensor([0.0, 0.3, 0.0, 0.0])))
        assert math.isnan(ms_score(e[:1], torch.ones(1)))
        assert math.isnan(ms_score(torch.zeros(4, 3), torch.ones(4)))
        assert math.isnan(ms_score(e, torch.full((4,), torch.nan)))

    def test_one_image_that_outweighs_all_others_leaves_no_pair(self) -> None:
        e = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
        # The differences of eq. 7 are rounding alone here, and came out as exactly 1.
        assert math.isnan(ms_score(e, torch.tensor([1.0] + [1e-17] * 9)))
        unit = torch.nn.functional.normalize(e.double(), dim=1)
        expected = float((unit[1:] @ unit[0]).mean())
        assert ms_score(e, torch.tensor([1.0] + [1e-9] * 9)) == pytest.approx(expected, abs=1e-5)

    def test_a_zero_embedding_without_weight_does_not_matter(self) -> None:
        e = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
        assert ms_score(e, torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(1)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))
    def test_is_the_weighted_mean_over_pairs(self, n: int, d: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        e, w = rng.normal(size=(n, d)), rng.random(n)
        unit = e / np.linalg.norm(e, axis=1, keepdims=True)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        expected = sum(w[i] * w[j] * unit[i] @ unit[j] for i, j in pairs) / sum(w[i] * w[j] for i, j in pairs)
        assert ms_score(torch.from_numpy(e), torch.from_numpy(w)) == pytest.approx(expected, abs=1e-9)
        # scale of embeddings and of weights does not matter
        assert ms_score(torch.from_numpy(7 * e), torch.from_numpy(0.1 * w)) == pytest.approx(expected, abs=1e-9)

    def test_shapes_that_do_not_fit_are_named(self) -> None:
        with pytest.raises(UserError, match=r"\(3, 2\)"):
            ms_score(torch.ones(3, 2), torch.ones(4))

    def test_dead_units_are_left_out_and_undefined_ones_are_counted(self) -> None:
        """Three images of one token. Unit 0 is dead; unit 1 has one image of positive weight; unit 2 has two."""
        codes = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
        # The embeddings of the first two images have a cosine of 0.6.
        embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        units = UnitStatistics(3, 2)
        units.update(codes[:, None], torch.arange(3))
        baseline: Any = SimpleNamespace(
            top_images=2,
            rows=lambda image, token: image,
            tokens=MemoryTokens(embeddings, embeddings),
        )
        method: Any = SimpleNamespace(parents=None)
        outcome = Outcome(method, units, baseline, 2)
        scores = {score.metric: score for score in MSScore(baseline).compute(outcome)}
        assert (scores["ms_score"].value, scores["ms_score"].n) == (pytest.approx(0.6), 1)
        assert set(scores) == {"ms_score", "ms_score_undefined"}
        assert (scores["ms_score_undefined"].value, scores["ms_score_undefined"].n) == (1, 2)
        assert outcome.unit_columns["ms_score"] == pytest.approx([math.nan, math.nan, 0.6], nan_ok=True)


class TestR2:
    def test_known_points(self) -> None:
        a = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) + 100
        assert r2(a, a) == 1
        assert r2(a, a.mean(0).expand_as(a)) == pytest.approx(0, abs=1e-6)
        assert r2(a, 2 * a.mean(0) - a) == pytest.approx(-3, abs=1e-5)

    def test_a_mean_predictor_is_not_flattered_by_features_of_different_means(self) -> None:
        a = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 100.0, -500.0, 9.0])
        assert abs(r2(a, a.mean(0).expand_as(a))) < 1e-5

    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 17), st.integers(0, 10**6))
    def test_streaming_is_the_textbook_formula(self, n: int, d: int, batch: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(n, d)) * 3 + 50
        a_hat = a + rng.normal(size=(n, d))
        expected = (1 - ((a - a_hat) ** 2).sum(0) / ((a - a.mean(0)) ** 2).sum(0)).mean()
        streamed = R2()
        for start in range(0, n, batch):
            streamed.update(torch.from_numpy(a[start : start + batch]), torch.from_numpy(a_hat[start : start + batch]))
        assert streamed.compute() == pytest.approx(expected, rel=1e-9)

    def test_features_that_never_vary_are_left_out(self) -> None:
        a = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        assert r2(a, a + torch.tensor([0.0, 1.0])) == 1
        assert math.isnan(r2(a[:, 1:], a[:, 1:]))
        assert math.isnan(R2().compute())

    def test_merging_accumulators_is_one_pass(self) -> None:
        rng = torch.Generator().manual_seed(1)
        a, a_hat = torch.randn(90, 3, generator=rng) + 30, torch.randn(90, 3, generator=rng) + 30
        parts = [R2().update(a[i::3], a_hat[i::3]) for i in range(3)]
        merged = R2()
        for part in parts:
            merged.merge(part)
        assert merged.compute() == pytest.approx(r2(a, a_hat), rel=1e-9)

    def test_shapes_that_do_not_fit_are_named(self) -> None:
        with pytest.raises(UserError, match=r"\(3, 2\)"):
            r2(torch.ones(3, 2), torch.ones(3, 1))


class TestUnitStatistics:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
    def test_streaming_equals_one_look_at_everything(
        self, n: int, tokens: int, units: int, top: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        codes = np.maximum(rng.integers(-2, 4, (n, tokens, units)), 0).astype(np.float32)  # many ties, dead units
        index = np.sort(rng.choice(50, n, replace=False))
        batch = int(rng.integers(1, n + 1))
        found = UnitStatistics(units, top)
        for start in range(0, n, batch):
            found.update(torch.from_numpy(codes[start : start + batch]), torch.from_numpy(index[start : start + batch]))
        peak, token = codes.max(1), codes.argmax(1)
        for unit in range(units):
            order = sorted(range(n), key=lambda i: (-peak[i, unit], index[i]))[:top]
            assert found.top_image[:, unit].tolist() == [index[i] for i in order]
            assert found.top_value[:, unit].tolist() == [peak[i, unit] for i in order]
            assert found.top_token[:, unit].tolist() == [token[i, unit] for i in order]
        assert found.maximum.tolist() == codes.max((0, 1)).tolist()
        assert found.minimum.tolist() == codes.min((0, 1)).tolist()
        assert found.fires.tolist() == (codes > 0).sum((0, 1)).tolist()
        assert found.alive.tolist() == (codes > 0).any((0, 1)).tolist()

    def test_weights_are_normalised_over_the_whole_split(self) -> None:
        found = UnitStatistics(2, 2)
        found.update(torch.tensor([[[4.0, 1.0], [-4.0, 1.0]], [[0.0, 1.0], [2.0, 1.0]]]), torch.tensor([0, 1]))
        assert found.weights()[:, 0].tolist() == [1.0, 0.75]
        assert found.weights()[:, 1].isnan().all()


def test_the_null_is_what_random_images_score_on_average() -> None:
    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(12, 5, 6, generator=rng) + torch.randn(12, 1, 6, generator=rng) + 0.7
    streamed = CrossImageSimilarity(6)
    for start in range(0, 12, 5):
        streamed.update(outputs[start : start + 5])
    unit = torch.nn.functional.normalize(outputs.double(), dim=-1)
    pairs = [
        float(unit[i, s] @ unit[j, t])
        for i in range(12)
        for j in range(12)
        if i != j
        for s in range(5)
        for t in range(5)
    ]
    assert streamed.compute() == pytest.approx(np.mean(pairs), abs=1e-9)
    draws = []
    for _ in range(3000):
        images = torch.randperm(12, generator=rng)[:4]
        places = torch.randint(5, (4,), generator=rng)
        draws.append(ms_score(outputs[images, places], torch.tensor([1.0, 0.8, 0.3, 0.1])))
    assert np.mean(draws) == pytest.approx(streamed.compute(), abs=4 * np.std(draws) / math.sqrt(3000))


class TestStandardErrors:
    def test_one_value_a_cluster_is_the_usual_standard_error(self) -> None:
        values = np.random.default_rng(0).normal(size=50)
        assert clustered_standard_error(values, np.arange(50)) == pytest.approx(values.std(ddof=1) / math.sqrt(50))

    def test_copies_of_an_observation_add_no_certainty(self) -> None:
        values = np.random.default_rng(0).normal(size=40)
        single = clustered_standard_error(values, np.arange(40))
        copied = clustered_standard_error(np.repeat(values, 5), np.repeat(np.arange(40), 5))
        assert copied == pytest.approx(single)

    def test_too_few_clusters_have_none(self) -> None:
        assert clustered_standard_error(np.ones(4), np.zeros(4)) is None
        assert jackknife_standard_error([0.5]) is None

    def test_the_jackknife_of_a_mean_is_its_standard_error(self) -> None:
        values = np.random.default_rng(1).normal(size=30)
        left_out = [np.delete(values, i).mean() for i in range(30)]
        assert jackknife_standard_error(left_out) == pytest.approx(values.std(ddof=1) / math.sqrt(30))

    def test_a_proportion_of_one_is_not_certain(self) -> None:
        assert 0 < (proportion_standard_error(1.0, 100) or 0) < 0.01
        assert proportion_standard_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
        assert proportion_standard_error(math.nan, 0) is None
