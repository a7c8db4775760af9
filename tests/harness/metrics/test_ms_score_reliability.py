"""Split-half reliability of the MS score: closed forms, a twin from two separate runs, simulations, edge cases."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import MemoryTokens
from torch import Tensor

from harness.activations.unit_statistics import UnitStatistics
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.ms_score import MSScore
from harness.metrics.ms_score_reliability import (
    MSScoreReliability,
    corrected,
    half_of_images,
    split_half_reliability,
)
from harness.stats import clustered_standard_error

NAN = math.nan


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestFunction:
    def test_closed_forms(self) -> None:
        x = torch.tensor([0.1, 0.4, 0.2, 0.9, NAN, 0.3]).double()
        for second, r in ((3 * x + 1, 1), (-x, -1)):
            result = split_half_reliability(x, second)
            assert result.r == pytest.approx(r) and result.n == 5
        assert split_half_reliability(x, x).value == pytest.approx(1)
        assert [corrected(r) for r in (0, 1 / 3, 0.5, 1)] == pytest.approx([0, 0.5, 2 / 3, 1])
        assert [corrected(-r) for r in (1 / 3, 0.5, 1)] == pytest.approx([-0.5, -2 / 3, -1])
        # Two orthogonal contrasts over four units.
        pair = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]]).double()
        assert split_half_reliability(*pair)[:3] == (0, 0, 4)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(3, 40), st.integers(0, 10**6))
    def test_r_is_pearsons_over_units_with_both_scores(self, n: int, seed: int) -> None:
        first, second = drawn(n, seed=seed).double(), drawn(n, seed=seed + 1).double()
        second = second + first
        first[n // 3 :: 7], second[n // 4 :: 9] = NAN, NAN
        both = ~first.isnan() & ~second.isnan()
        result = split_half_reliability(first, second)
        assert result.n == int(both.sum())
        if result.n >= 3:
            r = float(np.corrcoef(first[both], second[both])[0, 1])
            assert result.r == pytest.approx(r, abs=1e-9) and -1 <= result.value <= 1
            assert result.value == pytest.approx(2 * r / (1 + abs(r)), abs=1e-9)
            assert float(result.pseudo[both].mean()) == pytest.approx(result.value, abs=1e-9)
        assert result.pseudo[~both].isnan().all()

    @pytest.mark.parametrize(
        ("first", "second"),
        [([], []), ([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0, 1, 1], [1.0, 2, 3]), ([NAN] * 4, [1.0, 2, 3, 4])],
    )
    def test_undefined_cases(self, first: list[float], second: list[float]) -> None:
        result = split_half_reliability(torch.tensor(first).double(), torch.tensor(second).double())
        assert math.isnan(result.value) and math.isnan(result.r) and result.pseudo.isnan().all()

    def test_it_is_the_reliability_of_the_mean_of_both_halves(self) -> None:
        """True scores of variance 1, errors of variance 2 per half: 1 / (1 + 2 / 2) of the variance of the mean."""
        true = drawn(40_000).double()
        halves = [true + math.sqrt(2) * drawn(40_000, seed=seed).double() for seed in (1, 2)]
        assert split_half_reliability(*halves).value == pytest.approx(0.5, abs=0.02)

    def test_the_error_covers(self) -> None:
        """Units in clusters of three with a common part: 95 % intervals of 400 draws."""
        rng, inside, truth = np.random.default_rng(0), 0, corrected(0.6)
        clusters = np.repeat(np.arange(80), 3)
        for _ in range(400):
            shared = [np.repeat(rng.normal(size=80), 3) for _ in range(3)]
            single = [rng.normal(size=240) for _ in range(3)]
            true, *errors = (math.sqrt(0.5) * a + math.sqrt(0.5) * b for a, b in zip(shared, single, strict=True))
            halves = [torch.from_numpy(math.sqrt(0.6) * true + math.sqrt(0.4) * error) for error in errors]
            result = split_half_reliability(*halves)
            error = clustered_standard_error(result.pseudo.numpy(), clusters)
            assert error is not None
            inside += abs(result.value - truth) < 1.96 * error
        assert 0.91 < inside / 400 < 0.98


class TestHalves:
    def test_are_disjoint_equal_and_fixed(self) -> None:
        index = np.r_[0:40, 50:91]
        first = half_of_images(index)
        assert len(first) == 40 and len(set(first)) == 40 and set(first) < set(index)
        assert (np.diff(first) > 0).all() and (half_of_images(index) == first).all()
        # A random choice: not the first, nor every other image.
        assert 10 < np.mean(first) - 20 < 35 and len(set(first % 2)) == 2

    def test_of_few_images(self) -> None:
        assert [len(half_of_images(np.arange(n))) for n in range(4)] == [0, 0, 1, 1]


def stage(outputs: Tensor, top: int, n_prefix: int, index: np.ndarray | None = None) -> Any:
    n, n_tokens = outputs.shape[:2]
    positions = torch.arange(n_tokens) - n_prefix
    index = np.arange(n) if index is None else index
    return SimpleNamespace(
        top_images=top,
        n_tokens=n_tokens,
        index=index,
        rows=lambda image, token: torch.from_numpy(np.searchsorted(index, image.numpy())) * n_tokens + token,
        tokens=MemoryTokens(outputs.flatten(0, 1), outputs.flatten(0, 1)),
        passes=SimpleNamespace(site=SimpleNamespace(positions=lambda count: positions)),
    )


def measure(
    outputs: Tensor,
    codes: Tensor,
    *,
    top: int = 6,
    n_prefix: int = 1,
    batch: int = 4,
    parents: Tensor | None = None,
    index: np.ndarray | None = None,
) -> dict[str, Score]:
    """Scores for outputs (n, T, d) and codes (n, T, units); ``index`` are the numbers of the images in the split."""
    baseline = stage(outputs, top, n_prefix, index)
    metric, units, empty = MSScoreReliability(baseline), UnitStatistics(codes.shape[-1], top), torch.zeros(0)
    numbers = torch.from_numpy(baseline.index)
    for rows in torch.split(torch.arange(len(outputs)), batch):
        peaks = units.update(codes[rows], numbers[rows])
        metric.update(Batch(numbers[rows], rows, outputs[rows], outputs[rows], codes[rows], empty, empty, *peaks))
    method: Any = SimpleNamespace(parents=parents)
    outcome = Outcome(method, units, baseline, outputs.shape[-1])
    return {score.metric: score for score in metric.compute(outcome)}


def details_of(score: Score) -> dict[str, Any]:
    assert score.details is not None
    return dict(score.details)


class TestMetric:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(6, 30), st.integers(1, 4), st.integers(1, 9), st.integers(0, 10**6))
    def test_equals_two_separate_evaluations(self, n: int, tokens: int, batch: int, seed: int) -> None:
        """The MS score of each half of the images, measured as if the other half did not exist."""
        outputs, codes = drawn(n, tokens, 5, seed=seed) + 0.3, drawn(n, tokens, 12, seed=seed + 1).sub(0.5).round()
        scores = measure(outputs, codes, n_prefix=0, batch=batch)
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[torch.from_numpy(half_of_images(np.arange(n)))] = True
        columns = []
        for half in (chosen, ~chosen):
            baseline = stage(outputs[half], 3, 0)
            units = UnitStatistics(12, 3)
            units.update(codes[half], torch.arange(int(half.sum())))
            method: Any = SimpleNamespace(parents=None)
            outcome = Outcome(method, units, baseline, 5)
            list(MSScore(baseline).compute(outcome))
            columns.append(outcome.unit_columns["ms_score"])
        both = np.isfinite(columns[0]) & np.isfinite(columns[1])
        score = scores["ms_score_reliability"]
        assert score.n == both.sum()
        if both.sum() >= 3:
            r, rank = (f(columns[0][both], columns[1][both])[0] for f in (scipy.stats.pearsonr, scipy.stats.spearmanr))
            assert score.value == pytest.approx(2 * r / (1 + abs(r)), abs=1e-9)
            details = details_of(score)
            assert (details["r"], details["rank_correlation"]) == (pytest.approx(r), pytest.approx(rank))
            mean, difference = columns[0][both] + columns[1][both], columns[0][both] - columns[1][both]
            assert details["unit_spread"] == pytest.approx(np.std(mean, ddof=1) / 2)
            assert details["unit_error"] == pytest.approx(np.std(difference, ddof=1) / 2)
            assert details["half_means"] == pytest.approx([float(column[both].mean()) for column in columns])

    def test_the_batch_size_and_unreadable_images_do_not_matter(self) -> None:
        outputs, codes = drawn(21, 3, 6) + 0.3, drawn(21, 3, 30, seed=1)
        index = np.sort(np.random.default_rng(0).permutation(40)[:21])
        values = [measure(outputs, codes, batch=batch, index=index)["ms_score_reliability"] for batch in (1, 5, 21)]
        for other in values[1:]:
            assert other.value == pytest.approx(values[0].value, rel=1e-9) and other.n == values[0].n
            assert other.uncertainty == pytest.approx(values[0].uncertainty)

    def test_planted_units_are_reliable_and_random_ones_are_not(self) -> None:
        """Images of five kinds. Unit u follows a kind, under noise that grows with u; the others follow nothing."""
        generator = torch.Generator().manual_seed(0)
        kinds = torch.arange(200) % 5
        outputs = torch.eye(5)[kinds][:, None] + 0.2 * torch.randn(200, 2, 5, generator=generator)
        noise = torch.linspace(0, 3, 60)
        follows = torch.eye(5)[kinds][:, None, torch.arange(60) % 5]
        codes = follows + noise * torch.randn(200, 2, 60, generator=generator)
        random = torch.randn(200, 2, 60, generator=generator)
        planted, chance = (measure(outputs, c, top=40, n_prefix=0, batch=50) for c in (codes, random))
        assert planted["ms_score_reliability"].value > 0.9
        value, error = chance["ms_score_reliability"].value, chance["ms_score_reliability"].uncertainty
        assert error is not None and abs(value) < 3 * error and error < 0.4

    def test_the_null_is_zero_with_the_spread_of_permutations(self) -> None:
        """Over permutations r has the mean 0 and the variance 1 / (n - 1), both exactly."""
        outputs, codes = drawn(40, 2, 4) + 0.3, drawn(40, 2, 100, seed=1)
        null = measure(outputs, codes)["ms_score_reliability_null"]
        assert (null.n, null.direction, null.uncertainty_kind) == (100, "none", "permutations")
        assert null.uncertainty is not None and abs(null.value) < 4 * null.uncertainty
        assert details_of(null)["spread"] == pytest.approx(1 / math.sqrt(99), rel=0.2)
        assert null == measure(outputs, codes)["ms_score_reliability_null"]

    def test_units_that_peak_at_cls_are_reliable_for_no_reason(self) -> None:
        """CLS tokens are alike in all images: units at CLS score high in both halves, whatever they follow."""
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(80, 3, 16, generator=generator)
        outputs[:, 0] = 1 + 0.2 * torch.randn(80, 16, generator=generator)
        codes = torch.rand(80, 3, 60, generator=generator)
        codes[:, 0, :30] += 2
        codes[:, 0, 30:] = -1
        score = measure(outputs, codes, top=20)["ms_score_reliability"]
        details = details_of(score)
        assert score.value > 0.95 and details["n_patch"] == 30 and abs(details["patch"]) < 0.7

    def test_dead_units_and_those_silent_in_a_half_are_counted(self) -> None:
        outputs, codes = drawn(20, 2, 4) + 0.3, drawn(20, 2, 8, seed=1)
        codes[..., 0] = -1
        chosen = torch.from_numpy(half_of_images(np.arange(20)))
        codes[chosen, :, 1] = -1
        scores = measure(outputs, codes)
        assert scores["ms_score_reliability"].n == 6
        undefined = scores["ms_score_reliability_undefined"]
        assert (undefined.value, undefined.n, undefined.unit) == (1, 7, "units")

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_too_few_images_are_undefined(self, n: int) -> None:
        scores = measure(drawn(n, 2, 4), drawn(n, 2, 5, seed=1))
        score = scores["ms_score_reliability"]
        assert math.isnan(score.value) and score.uncertainty is None and score.n == 0
        assert math.isnan(scores["ms_score_reliability_null"].value)
        details = details_of(score)
        assert details["half_means"] == [None, None] and details["unit_error"] is details["unit_spread"] is None

    def test_copies_of_one_unit_have_no_correlation_of_rounding_errors(self) -> None:
        base = torch.full((50,), 0.7, dtype=torch.float64)
        halves = [base + 1e-16 * drawn(50, seed=seed).double().sign() for seed in (0, 1)]
        assert math.isnan(split_half_reliability(*halves).value)
        codes = drawn(40, 2, 1, seed=1).expand(-1, -1, 30).contiguous()
        scores = measure(drawn(40, 2, 4) + 0.3, codes)
        assert math.isnan(scores["ms_score_reliability"].value) and scores["ms_score_reliability"].n == 30

    def test_constant_codes_are_undefined(self) -> None:
        scores = measure(drawn(20, 2, 4), torch.ones(20, 2, 5))
        assert math.isnan(scores["ms_score_reliability"].value)
        assert scores["ms_score_reliability_undefined"].value == 5

    def test_errors_are_clustered_by_parent(self) -> None:
        outputs, codes = drawn(30, 3, 5) + 0.3, drawn(30, 3, 40, seed=1)
        single, clustered = (
            measure(outputs, codes, parents=parents)["ms_score_reliability"]
            for parents in (None, torch.arange(40) // 4)
        )
        assert (single.uncertainty_kind, clustered.uncertainty_kind) == ("units", "units, clustered by parent")
        assert single.value == clustered.value and single.uncertainty != clustered.uncertainty

    def test_half_of_the_top_images_is_a_parameter_of_the_score(self) -> None:
        for top, half in ((20, 10), (7, 3), (2, 2)):
            assert MSScoreReliability(stage(drawn(30, 2, 4), top, 0)).params == {"top_images": half}

    def test_it_is_opt_in_and_has_no_direction(self) -> None:
        assert not MSScoreReliability.default and not MSScoreReliability.needs_network
        assert MSScoreReliability.direction == "none"
