"""Chance level of the MS score per unit: closed forms, a brute-force twin, simulations, and the score above it."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import MemoryTokens
from torch import Tensor
from torch.nn import functional

from harness.activations.unit_statistics import UnitStatistics
from harness.cells.evaluate import UNIT_COLUMNS
from harness.metrics import ms_score
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.ms_score import MSScore
from harness.metrics.ms_score_null import MSScoreNull, PeakSimilarity, adjusted_score
from harness.metrics.token_kinds import KindSimilarity, token_kinds
from harness.stats import clustered_standard_error


class Measured(NamedTuple):
    scores: dict[str, Score]
    columns: dict[str, np.ndarray]


def measure(
    outputs: Tensor, codes: Tensor, *, top: int = 3, n_prefix: int = 1, batch: int = 4, parents: Tensor | None = None
) -> Measured:
    """Scores of both MS metrics for outputs (n, T, d) and codes (n, T, units); the first tokens are CLS, registers."""
    n, n_tokens = outputs.shape[:2]
    positions = torch.arange(n_tokens) - n_prefix
    baseline: Any = SimpleNamespace(
        top_images=top,
        n_tokens=n_tokens,
        rows=lambda image, token: image * n_tokens + token,
        tokens=MemoryTokens(outputs.flatten(0, 1), outputs.flatten(0, 1)),
        passes=SimpleNamespace(site=SimpleNamespace(positions=lambda count: positions)),
    )
    units, metric, empty = UnitStatistics(codes.shape[-1], top), MSScoreNull(baseline), torch.zeros(0)
    for index in torch.split(torch.arange(n), batch):
        peaks = units.update(codes[index], index)
        metric.update(Batch(index, index, outputs[index], outputs[index], codes[index], empty, empty, *peaks))
    method: Any = SimpleNamespace(parents=parents)
    outcome = Outcome(method, units, baseline, outputs.shape[-1])
    scores = [*MSScore(baseline).compute(outcome), *metric.compute(outcome)]
    return Measured({score.metric: score for score in scores}, outcome.unit_columns)


def drawn(n: int, tokens: int, d: int, units: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outputs with a common direction, and codes that are positive on half of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, tokens, d, generator=generator) + 0.4, torch.randn(n, tokens, units, generator=generator)


class TestNull:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 12), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
    def test_is_the_mean_cosine_over_pairs_of_active_images(
        self, n: int, tokens: int, d: int, batch: int, seed: int
    ) -> None:
        outputs, codes = drawn(n, tokens, d, 4, seed)
        codes = codes.sub(1).round()  # ties between tokens, images without activity
        column = measure(outputs, codes, batch=batch, n_prefix=0).columns["ms_score_null"]
        for unit in range(4):
            peak, token = codes[..., unit].max(1)
            active = torch.nonzero(peak > 0)[:, 0]
            e = functional.normalize(outputs[active, token[active]].double(), dim=1)
            k = len(active)
            expected = float((e @ e.T).sum() - k) / (k * (k - 1)) if k > 1 else math.nan
            assert column[unit] == pytest.approx(expected, abs=1e-6, nan_ok=True)

    def test_closed_forms(self) -> None:
        """Unit 0: one direction; unit 1: two orthogonal halves; unit 2: an antipodal pair; unit 3: a single image."""
        outputs, codes = torch.zeros(8, 4, 3), torch.full((8, 4, 4), -1.0)
        outputs[:, 0, 0] = torch.arange(1.0, 9.0)
        outputs[:4, 1, 1] = outputs[4:, 1, 2] = 2
        outputs[0, 2, 0], outputs[1, 2, 0] = 1, -1
        outputs[:, 3] = 1
        for unit, images in enumerate((range(8), range(8), range(2), range(1))):
            codes[list(images), unit, unit] = 1
        scores, columns = measure(outputs, codes)
        assert columns["ms_score_null"] == pytest.approx([1, 3 / 7, -1, math.nan], abs=1e-6, nan_ok=True)
        assert scores["ms_score_null"].n == 3 and scores["ms_score_null_undefined"].value == 1
        assert scores["ms_score_null"].value == pytest.approx((1 + 3 / 7 - 1) / 3)
        assert (scores["ms_score_null"].direction, MSScoreNull.version, MSScore.version) == ("none", 2, 1)

    def test_units_that_choose_the_same_token_have_another_level_than_random_tokens(self) -> None:
        """CLS tokens of all images are alike: a unit that peaks there for no reason scores high, and null shows it."""
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(60, 5, 32, generator=generator)
        outputs[:, 0] = torch.ones(32) + 0.3 * torch.randn(60, 32, generator=generator)
        codes = torch.rand(60, 5, 2, generator=generator)
        codes[:, 0, 0] += 2
        codes[:, 0, 1] = -1
        scores, columns = measure(outputs, codes, top=20)
        assert columns["ms_score_null"][0] > 0.85 and abs(columns["ms_score_null"][1]) < 0.05
        # The score of both is chance alone: the activations do not depend on the images.
        np.testing.assert_allclose(columns["ms_score"], columns["ms_score_null"], atol=0.03)
        assert abs(scores["ms_score_adjusted"].value) < 0.03

    def test_is_what_random_images_score_on_average(self) -> None:
        outputs, codes = drawn(15, 4, 6, 1, seed=3)
        null = measure(outputs, codes).columns["ms_score_null"][0]
        peak, token = codes[..., 0].max(1)
        active = torch.nonzero(peak > 0)[:, 0]
        generator = torch.Generator().manual_seed(1)
        draws = []
        for _ in range(1500):
            images = active[torch.randperm(len(active), generator=generator)[:4]]
            draws.append(ms_score(outputs[images, token[images]], torch.tensor([1.0, 0.8, 0.3, 0.1])))
        assert np.mean(draws) == pytest.approx(null, abs=4 * np.std(draws) / math.sqrt(len(draws)))

    def test_a_zero_vector_has_no_direction_and_is_counted(self) -> None:
        outputs, codes = drawn(6, 2, 3, 2)
        codes[..., 0] = codes[..., 1] = 1
        codes[2, :, 1] = -1  # the second unit is not active on the image with the zero vector
        outputs[2] = 0
        scores, columns = measure(outputs, codes, top=2)
        assert math.isnan(columns["ms_score_null"][0]) and not math.isnan(columns["ms_score_null"][1])
        assert scores["ms_score_null"].details == {"units_at_zero_vectors": 1}
        assert scores["ms_score_null_undefined"].value == 1

    def test_the_store_takes_the_columns(self) -> None:
        assert {"ms_score_null", "prefix_share"} <= set(UNIT_COLUMNS)

    def test_memory_is_one_matrix(self) -> None:
        similarity = PeakSimilarity()
        outputs, codes = drawn(9, 3, 5, 7)
        for _ in range(3):
            similarity.update(outputs, *codes.max(1))
        sizes = [value.numel() for value in vars(similarity).values()]
        assert sorted(sizes) == [7, 7, 35] and similarity.n.max() <= 27


class TestAdjusted:
    def test_is_a_ratio_of_means(self) -> None:
        score, null = torch.tensor([0.6, 0.8, 0.5, 0.9]).double(), torch.tensor([0.2, 0.4, math.nan, 0.1]).double()
        chosen = torch.tensor([True, True, True, False])
        adjusted = adjusted_score(score, null, chosen)
        assert adjusted.value == pytest.approx((0.7 - 0.3) / (1 - 0.3)) and adjusted.n == 2
        assert float(adjusted.pseudo[:2].mean()) == pytest.approx(adjusted.value)
        assert adjusted.pseudo[2:].isnan().all()

    def test_one_unit_whose_level_is_near_one_does_not_decide_it(self) -> None:
        score, null = torch.full((100,), 0.6, dtype=torch.float64), torch.full((100,), 0.5, dtype=torch.float64)
        score[0], null[0] = 0.9, 0.9999  # -999 as a ratio of its own
        assert adjusted_score(score, null, torch.ones(100, dtype=torch.bool)).value == pytest.approx(0.2, abs=0.01)

    def test_without_room_above_chance_it_is_undefined(self) -> None:
        outputs = torch.ones(8, 2, 3)
        codes = torch.rand(8, 2, 4, generator=torch.Generator().manual_seed(0))
        scores, _ = measure(outputs, codes)
        assert scores["ms_score"].value == pytest.approx(1) and scores["ms_score_null"].value == pytest.approx(1)
        adjusted = scores["ms_score_adjusted"]
        assert math.isnan(adjusted.value) and adjusted.uncertainty is None

    def test_the_standard_error_covers_the_value_of_all_units(self) -> None:
        """Clusters of three units with a common part, scores that follow their levels: 95 % intervals of 400 draws."""
        rng = np.random.default_rng(0)
        inside, truth = 0, (0.7 - 0.55) / (1 - 0.55)
        for _ in range(400):
            shared = np.repeat(rng.normal(0, 0.08, 60), 3)
            null = 0.55 + shared + rng.normal(0, 0.05, 180)
            score = 0.7 + 0.9 * shared + rng.normal(0, 0.05, 180)
            everything = torch.ones(180, dtype=torch.bool)
            adjusted = adjusted_score(torch.from_numpy(score), torch.from_numpy(null), everything)
            error = clustered_standard_error(adjusted.pseudo.numpy(), np.repeat(np.arange(60), 3)) or 0.0
            inside += abs(adjusted.value - truth) < 1.96 * error
        assert 0.92 < inside / 400 < 0.98

    def test_a_unit_that_is_active_on_few_images_has_only_its_own_level(self) -> None:
        """With equal activations, score and level are the same mean over the same images: 0 by construction."""
        outputs, codes = drawn(12, 2, 4, 2)
        codes[..., 0] = -1.0
        codes[:3, 1, 0] = 2.0
        scores, columns = measure(outputs, codes[..., :1], top=5)
        assert columns["ms_score"][0] == pytest.approx(columns["ms_score_null"][0], abs=1e-6)
        details = scores["ms_score_adjusted"].details
        assert details is not None and details["n_common"] == 0 and details["adjusted_common"] is None
        assert scores["ms_score_adjusted"].value == pytest.approx(0, abs=1e-5)

    def test_errors_are_clustered_by_parent(self) -> None:
        outputs, codes = drawn(20, 3, 5, 6)
        single, clustered = (measure(outputs, codes, parents=p).scores for p in (None, torch.arange(6) // 2))
        for name in ("ms_score_null", "ms_score_adjusted"):
            assert single[name].uncertainty_kind == "units"
            assert clustered[name].uncertainty_kind == "units, clustered by parent"
            assert single[name].value == clustered[name].value


class TestTokenAdjusted:
    def test_it_is_zero_for_random_images_and_removes_the_effect_of_cls_tokens(self) -> None:
        """CLS tokens are alike in all images. Units that peak there, or anywhere, for no reason have no score."""
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(80, 5, 32, generator=generator) + 0.3
        outputs[:, 0] = torch.ones(32) + 0.3 * torch.randn(80, 32, generator=generator)
        codes = torch.rand(80, 5, 40, generator=generator)
        codes[:, 0, :20] += 2
        scores, columns = measure(outputs, codes, top=20)
        assert columns["ms_score"][:20].mean() > columns["ms_score"][20:].mean() + 0.3
        assert abs(scores["ms_score_token_adjusted"].value) < 0.03

    def test_it_does_not_depend_on_the_density_of_the_codes(self) -> None:
        """Detectors of one of five kinds of images, once active everywhere and once on their 16 best images only.

        The other level is about the active images alone, which are all of one kind: nothing is left above it.
        """
        generator = torch.Generator().manual_seed(0)
        kinds = torch.arange(80) % 5
        outputs = (torch.eye(5)[kinds][:, None] + 0.1 * torch.randn(80, 3, 5, generator=generator)).float()
        dense = outputs + 0.5
        sparse = (outputs - 0.5).relu()
        values = {
            name: measure(outputs, codes, top=10, n_prefix=0).scores for name, codes in (("d", dense), ("s", sparse))
        }
        assert values["d"]["ms_score"].value > 0.95 and values["s"]["ms_score"].value > 0.95
        assert values["d"]["ms_score_token_adjusted"].value > 0.94
        assert values["s"]["ms_score_token_adjusted"].value > 0.94
        assert values["d"]["ms_score_adjusted"].value > 0.94 and abs(values["s"]["ms_score_adjusted"].value) < 0.2
        shares = [values[name]["ms_score_adjusted"].details["active_share"] for name in "ds"]  # type: ignore[index]
        assert shares == pytest.approx([1, 0.2], abs=0.02)

    def test_similarity_by_kind_is_a_mean_over_pairs(self) -> None:
        positions = torch.tensor([-1, -2, 0, 1, 2])
        kinds = token_kinds(positions)
        assert kinds.of.tolist() == [0, 1, 2, 2, 2]
        outputs, _ = drawn(7, 5, 4, 1)
        similarity = KindSimilarity(kinds)
        for index in torch.split(torch.arange(7), 3):
            similarity.update(outputs[index])
        e = functional.normalize(outputs.double(), dim=-1)
        cosines = torch.einsum("itd,jsd->ijts", e, e)[~torch.eye(7, dtype=torch.bool)]
        for k, m in itertools.product(range(3), range(3)):
            expected = float(cosines[:, kinds.of == k][:, :, kinds.of == m].mean())
            assert float(similarity.compute()[k, m]) == pytest.approx(expected, abs=1e-6)
        assert token_kinds(torch.arange(4)).of.tolist() == [0, 0, 0, 0]
        assert KindSimilarity(kinds).compute().isnan().all()


class TestGroups:
    def test_units_are_split_by_the_majority_of_their_top_images(self) -> None:
        """Token 0 is CLS. Unit 0 peaks there on 2 of its 3 top images, unit 1 on 1, unit 2 is dead."""
        outputs, codes = drawn(6, 3, 4, 3, seed=5)
        codes[:] = -1.0
        for unit, tokens in enumerate(((0, 0, 1), (0, 1, 2))):
            for image, token in enumerate(tokens):
                codes[image, token, unit] = 5.0 - image
        codes[4, 2, 0], codes[5, 2, 1] = 1.0, 1.0  # below the top images
        scores, columns = measure(outputs, codes)
        assert columns["prefix_share"] == pytest.approx([2 / 3, 1 / 3, math.nan], nan_ok=True)
        for name, unit in (("ms_score_cls", 0), ("ms_score_patch", 1)):
            assert (scores[name].value, scores[name].n) == (pytest.approx(columns["ms_score"][unit]), 1)
            assert scores[name].direction == "none"
        patch = adjusted_score(*(torch.from_numpy(columns[name]) for name in ("ms_score", "ms_score_null")), PATCH)
        details = scores["ms_score_patch"].details
        assert details is not None and details["adjusted"] == pytest.approx(patch.value)
        whole = scores["ms_score_adjusted"].details
        assert whole is not None and (whole["adjusted_patch"], whole["n_patch"]) == (pytest.approx(patch.value), 1)

    def test_half_is_no_majority_and_inactive_images_do_not_count(self) -> None:
        outputs, codes = drawn(5, 2, 3, 1)
        codes[:] = -1.0
        codes[0, 0], codes[1, 1] = 2.0, 1.0
        scores, columns = measure(outputs, codes, top=4)
        assert columns["prefix_share"].tolist() == [0.5]
        assert scores["ms_score_patch"].n == 1 and scores["ms_score_cls"].n == 0
        assert math.isnan(scores["ms_score_cls"].value) and scores["ms_score_cls"].uncertainty is None

    def test_a_layer_without_prefix_tokens_has_no_cls_score(self) -> None:
        outputs, codes = drawn(10, 3, 4, 3)
        scores, columns = measure(outputs, codes, n_prefix=0)
        assert "ms_score_cls" not in scores and columns["prefix_share"].tolist() == [0, 0, 0]
        assert scores["ms_score_patch"].value == pytest.approx(scores["ms_score"].value)

    def test_a_layer_of_prefix_tokens_alone_has_no_patch_score(self) -> None:
        outputs, codes = drawn(10, 2, 4, 3)
        scores, columns = measure(outputs, codes, n_prefix=2)
        assert columns["prefix_share"].tolist() == [1, 1, 1] and scores["ms_score_patch"].n == 0
        assert scores["ms_score_cls"].value == pytest.approx(scores["ms_score"].value)
        assert not math.isnan(scores["ms_score_token_adjusted"].value)

    def test_the_groups_make_up_the_score(self) -> None:
        outputs, codes = drawn(30, 3, 4, 20, seed=2)
        scores, _ = measure(outputs, codes, n_prefix=2)
        groups = [scores[name] for name in ("ms_score_patch", "ms_score_cls")]
        assert sum(group.n for group in groups) == scores["ms_score"].n and min(group.n for group in groups) > 0
        total = sum(group.value * group.n for group in groups)
        assert total / scores["ms_score"].n == pytest.approx(scores["ms_score"].value)


PATCH = torch.tensor([False, True, False])
