"""Fraction of variance unexplained, and what R2 says about the features that decide it."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness import metrics
from harness.errors import ArgumentError
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.fvu import FVU
from harness.metrics.r2 import ReconstructionR2
from harness.stats import jackknife_standard_error

BASELINE: Any = SimpleNamespace()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def measure(metric: Any, a: Tensor, a_hat: Tensor, batch: int = 7) -> tuple[dict[str, Score], list[str]]:
    """Scores and notes of a metric over images a (n, T, d)."""
    streamed, empty = metric(BASELINE), torch.zeros(0)
    for index in torch.split(torch.arange(len(a)), batch):
        streamed.update(Batch(index, index, a[index], a_hat[index], *[empty] * 5))
    nothing: Any = SimpleNamespace()
    outcome = Outcome(nothing, nothing, BASELINE, a.shape[-1])
    return {score.metric: score for score in streamed.compute(outcome)}, outcome.notes


class TestFunction:
    def test_closed_forms(self) -> None:
        a = drawn(400, 3) * torch.tensor([1.0, 10.0, 0.01]) + 50
        assert metrics.fvu(a, a) == 0
        assert metrics.fvu(a, a.mean(0).expand_as(a)) == pytest.approx(1, abs=1e-5)
        assert metrics.fvu(a, 2 * a.mean(0) - a) == pytest.approx(4, abs=1e-4)

    def test_features_are_weighted_by_their_variance(self) -> None:
        """Feature 0 has variance 1 and is lost; feature 1 has variance 9 and is exact."""
        a = torch.tensor([[-1.0, -3.0], [1.0, 3.0], [-1.0, 3.0], [1.0, -3.0]])
        a_hat = a * torch.tensor([0.0, 1.0])
        assert metrics.fvu(a, a_hat) == pytest.approx(4 / 40)
        assert metrics.r2(a, a_hat) == pytest.approx(0.5)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 10**6))
    def test_is_the_textbook_ratio(self, n: int, d: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(n, d)) * rng.uniform(0.1, 5, d) + 30
        a_hat = a + rng.normal(size=(n, d))
        expected = ((a - a_hat) ** 2).sum() / ((a - a.mean(0)) ** 2).sum()
        assert metrics.fvu(torch.from_numpy(a), torch.from_numpy(a_hat)) == pytest.approx(expected, rel=1e-9)

    def test_errors_at_a_constant_feature_count_though_it_has_no_variance(self) -> None:
        a = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        assert metrics.fvu(a, a + torch.tensor([0.0, 1.0])) == pytest.approx(1)

    def test_a_constant_layer_and_no_rows_are_undefined(self) -> None:
        for a in (torch.ones(5, 3), torch.ones(0, 3), torch.full((7, 2), 0.1, dtype=torch.float64)):
            assert math.isnan(metrics.fvu(a, 2 * a))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_nan_and_infinity_are_errors(self, value: float) -> None:
        a = drawn(6, 2)
        wrong = a.clone()
        wrong[3, 1] = value
        with pytest.raises(ArgumentError, match=r"fvu: a\[3, 1\] is"):
            metrics.fvu(wrong, a)
        with pytest.raises(ArgumentError, match=r"fvu: a_hat\[3, 1\] is"):
            metrics.fvu(a, wrong)
        with pytest.raises(ArgumentError, match=r"fvu: a .* must have the same shape"):
            metrics.fvu(a, a[:, :1])


class TestMetrics:
    def test_both_forms_with_a_jackknife_over_groups_of_images(self) -> None:
        a = drawn(23, 4, 5)
        a_hat = a + 0.3 * drawn(23, 4, 5, seed=1)
        scores, _ = measure(FVU, a, a_hat)
        fvu, pooled = scores["fvu"], scores["r2_pooled"]
        assert fvu.value == pytest.approx(metrics.fvu(a.flatten(0, 1), a_hat.flatten(0, 1)))
        assert (fvu.direction, fvu.unit, fvu.n, pooled.direction) == ("lower", "", 23 * 4, "higher")
        assert pooled.value == pytest.approx(1 - fvu.value) and pooled.uncertainty == pytest.approx(fvu.uncertainty)

        def without(group: int) -> float:
            kept = torch.arange(23) % 10 != group
            return metrics.fvu(a[kept].flatten(0, 1), a_hat[kept].flatten(0, 1))

        expected = [without(group) for group in range(10)]
        assert fvu.details is not None and fvu.details["without_group"] == pytest.approx(expected)
        assert fvu.uncertainty == pytest.approx(jackknife_standard_error(expected))

    def test_groups_are_the_same_images_for_every_method_and_batch_size(self) -> None:
        """Image 14 alone is wrong, so the fifth group is the one without which all is right."""
        a = drawn(30, 2, 3)
        a_hat = a.clone()
        a_hat[14] = 0
        for metric, best in ((FVU, 0.0), (ReconstructionR2, 1.0)):
            for batch in (1, 4, 30):
                scores, _ = measure(metric, a, a_hat, batch)
                details = scores[metric.id].details
                assert details is not None
                assert [index for index, value in enumerate(details["without_group"]) if value == best] == [4]

    def test_a_group_without_which_nothing_varies_is_none_in_the_details(self) -> None:
        a = torch.zeros(4, 1, 1)
        a[2] = 1
        scores, _ = measure(FVU, a, a)
        assert scores["fvu"].details is not None and scores["fvu"].details["without_group"] == [0, 0, None, 0]

    def test_one_feature_that_hardly_varies_is_named_and_r2_keeps_its_value(self) -> None:
        a = drawn(40, 3, 6)
        a[..., 2] = 1 + 1e-4 * a[..., 2]
        a_hat = a + 0.1 * drawn(40, 3, 6, seed=2)
        scores, notes = measure(ReconstructionR2, a, a_hat)
        r2 = scores["r2"]
        assert r2.value == pytest.approx(metrics.r2(a.flatten(0, 1), a_hat.flatten(0, 1))) and r2.value < -1e4
        assert measure(FVU, a, a_hat)[0]["r2_pooled"].value > 0.98
        assert r2.details is not None
        counts = {name: r2.details[name] for name in ("constant", "near_constant", "below_minus_one")}
        assert counts == {"constant": 0, "near_constant": 1, "below_minus_one": 1}
        (note,) = notes
        assert "1 of 6 features are below -1, and 1 hardly vary" in note and "r2_pooled" in note

    def test_without_a_difference_there_is_no_note(self) -> None:
        a = drawn(40, 3, 6)
        a[..., 5] = 2.0
        scores, notes = measure(ReconstructionR2, a, a + 0.1)
        assert notes == [] and scores["r2"].details is not None and scores["r2"].details["constant"] == 1


def test_r2_and_fvu_share_the_sums_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One computation per batch for both, and one for every other batch, also of the same images."""
    a, index, empty = drawn(12, 2, 3), torch.arange(12), torch.zeros(0)
    computed: list[int] = []
    # The package has a function of the module's name.
    module = importlib.import_module("harness.metrics.r2")
    original = module.sums_of_rows

    def counted(call: str, parts: Any) -> Any:
        computed.append(sum(len(rows) for rows, _ in parts))
        return original(call, parts)

    monkeypatch.setattr(module, "sums_of_rows", counted)
    scores_by_metric = {}
    for shift in (0.5, 0.25):
        batch = Batch(index, index, a, a + shift, *[empty] * 5)
        used = [ReconstructionR2(BASELINE), FVU(BASELINE)]
        for metric in used:
            metric.update(batch)
        scores_by_metric[shift] = [metric.groups.merged().residual for metric in used]
    assert computed == [24, 24]
    for shift, (first, second) in scores_by_metric.items():
        assert torch.equal(first, second)
        assert first.tolist() == pytest.approx([24 * shift**2] * 3, rel=1e-5)
