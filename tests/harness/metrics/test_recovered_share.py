"""Share of a layer's effect on accuracy that is recovered: closed forms, undefined cases, coverage."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.activations.baseline import AblationFloor, FloorOutcomes
from harness.metrics.accuracy import Accuracy
from harness.metrics.agreement import Agreement
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.recovered_share import recovered_share


def first(n: int, positive: int) -> np.ndarray:
    return np.arange(n) < positive


class TestRecoveredShare:
    def test_ends_of_the_scale(self) -> None:
        original, ablated = first(100, 80), first(100, 20)
        for share, expected in ((original, 1.0), (ablated, 0.0), (first(100, 50), 0.5), (first(100, 95), 1.25)):
            assert recovered_share(share, original, ablated)[0] == pytest.approx(expected)

    def test_images_that_never_differ_leave_the_width_of_the_rule_of_three(self) -> None:
        value, error = recovered_share(first(100, 80), first(100, 80), first(100, 20))
        assert value == 1 and error == pytest.approx(math.sqrt(2) / 100 / 0.6)

    def test_the_error_is_that_of_the_linearised_ratio(self) -> None:
        rng = np.random.default_rng(0)
        a, o, m = (rng.random(5000) < p for p in (0.7, 0.8, 0.3))
        value, error = recovered_share(a, o, m)
        resampled = []
        for _ in range(400):
            chosen = rng.integers(5000, size=5000)
            resampled.append(recovered_share(a[chosen], o[chosen], m[chosen])[0])
        assert error == pytest.approx(np.std(resampled), rel=0.15) and value == pytest.approx(0.8, abs=0.05)

    def test_an_effect_within_noise_is_undefined(self) -> None:
        rng = np.random.default_rng(1)
        original = rng.random(100) < 0.74
        ablated = original.copy()
        ablated[:12] = ~ablated[:12]  # as many better as worse, within noise
        for nothing in (original, ablated, ~original & False):
            if abs(float(np.mean(original) - np.mean(nothing))) < 0.12:
                value, error = recovered_share(original, original, nothing)
                assert math.isnan(value) and error is None
        assert math.isnan(recovered_share(first(1, 1), first(1, 1), first(1, 0))[0])
        # An ablation that is better than the original leaves nothing to recover.
        assert math.isnan(recovered_share(first(50, 20), first(50, 10), first(50, 40))[0])

    @pytest.mark.parametrize(("n", "kept"), [(100, 0.5), (100, 0.9), (100, 0.95), (1000, 0.98)])
    def test_intervals_cover(self, n: int, kept: float) -> None:
        """The replaced layer keeps the original's prediction on a share ``kept`` of the images, else the ablated's."""
        rng = np.random.default_rng(n)
        inside = 0
        for _ in range(600):
            ablated = rng.random(n) < 0.2
            original = np.where(ablated, rng.random(n) >= 0.05, rng.random(n) < 0.7)
            share = np.where(rng.random(n) < kept, original, ablated)
            value, error = recovered_share(share, original, ablated)
            assert error is not None
            inside += abs(value - kept) < 1.96 * error
        assert 0.93 < inside / 600 < 0.99


def both_metrics(right: list[int], n: int = 40, ablated: int = 4) -> tuple[dict[str, Score], Outcome]:
    """Accuracy and agreement on n images of class 1: the original is right on 32, we on `right`."""
    sides = {"original": first(n, 32), "zero": first(n, 0), "mean": first(n, ablated)}
    baseline: Any = SimpleNamespace(
        images=range(n),
        head=SimpleNamespace(targets=lambda labels: labels),
        floors={name: AblationFloor(float(side.mean()), float(side.mean())) for name, side in sides.items()},
        floor_outcomes={name: FloorOutcomes(side, side) for name, side in sides.items()},
    )
    predicted = torch.zeros(n, dtype=torch.int64)
    predicted[right] = 1
    logits = torch.nn.functional.one_hot(predicted, 2).float()
    clean = torch.nn.functional.one_hot(torch.from_numpy(sides["original"]).long(), 2).float()
    empty = torch.zeros(0)
    nothing: Any = SimpleNamespace()
    outcome = Outcome(nothing, nothing, baseline, 1)
    scores: dict[str, Score] = {}
    for cls in (Accuracy, Agreement):
        metric = cls(baseline)
        metric.update(
            Batch(torch.arange(n), torch.ones(n, dtype=torch.int64), empty, empty, empty, clean, logits, empty, empty)
        )
        scores |= {score.metric: score for score in metric.compute(outcome)}
    return scores, outcome


def test_the_metrics_give_it_beside_their_unchanged_value() -> None:
    scores, outcome = both_metrics(list(range(18)))
    assert (Accuracy.version, scores["accuracy"].value) == (1, 18 / 40)
    assert scores["accuracy_recovered"].value == pytest.approx((18 - 4) / (32 - 4))
    assert scores["accuracy_recovered"].details == {"original": 0.8, "mean_ablated": 0.1}
    assert scores["agreement"].value == 26 / 40
    assert scores["agreement_recovered"].value == pytest.approx((26 - 4) / (40 - 4))
    for name in ("floor_mean_accuracy", "floor_original_accuracy", "floor_zero_agreement", "floor_mean_agreement"):
        counted, positive = outcome.image_outcomes[name]
        assert positive[counted].mean() == scores[name].value


def test_an_effect_within_noise_is_left_out_with_a_note() -> None:
    scores, outcome = both_metrics(list(range(18)), ablated=31)
    assert "accuracy_recovered" not in scores and "agreement_recovered" in scores
    (note,) = outcome.notes
    assert note == (
        "accuracy_recovered is left out: over 40 images, the accuracy of the original (0.8) is not clearly above that "
        "of mean ablation (0.775)."
    )
