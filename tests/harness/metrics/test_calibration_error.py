"""Expected calibration error: closed forms, a brute-force twin, perfect and overconfident probabilities."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.calibration_error import BINS, CalibrationError, calibration_error


def test_closed_forms_and_a_twin() -> None:
    assert calibration_error(np.array([0.9, 0.9]), np.array([1, 0])) == pytest.approx(0.4)
    assert calibration_error(np.array([1.0, 0.5, 0.5]), np.array([1, 0, 1])) == pytest.approx(0)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0)))
    generator = np.random.default_rng(0)
    confidence, right = generator.random(300), generator.random((4, 300)) < 0.5
    for row, value in zip(right, calibration_error(confidence, right), strict=True):
        total = 0.0
        for number in range(BINS):
            inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
            if inside.any():
                total += inside.mean() * abs(row[inside].mean() - confidence[inside].mean())
        assert value == pytest.approx(total)


@pytest.mark.parametrize(
    ("confidence", "right", "words"),
    [
        (np.array([0.5]), np.array([1, 0]), "must have the shapes"),
        (np.array([1.5]), np.array([1]), "not between 0 and 1"),
        (np.array([np.nan]), np.array([1]), "not between 0 and 1"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(confidence: np.ndarray, right: np.ndarray, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        calibration_error(confidence, right)


def measure(logits: Tensor, clean: Tensor, labels: Tensor, size: int = 64) -> dict[str, Score]:
    head = SimpleNamespace(predicts_labels=True, targets=lambda label: label)
    baseline: Any = SimpleNamespace(head=head, images=SimpleNamespace(labels=labels.numpy()))
    method: Any = SimpleNamespace(spec=SimpleNamespace(virtual=False))
    assert CalibrationError.applies(method, baseline)
    metric, empty = CalibrationError(baseline), torch.zeros(0)
    for index in torch.arange(len(labels)).split(size):
        metric.update(Batch(index, labels[index], empty, empty, empty, clean[index], logits[index], empty, empty))
    units: Any = None
    return {score.metric: score for score in metric.compute(Outcome(method, units, baseline, 3))}


def test_calibrated_logits_are_at_the_null_and_overconfident_ones_above() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(2000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    scores = measure(4 * logits, logits, labels)
    null, change = scores["calibration_error_null"].value, scores["calibration_error_change"]
    original = scores["calibration_error_original"]
    assert original.uncertainty is not None and abs(original.value - null) < 0.02
    assert change.uncertainty is not None and change.value > 10 * change.uncertainty
    assert change.value == pytest.approx(scores["calibration_error"].value - original.value)
    again = measure(4 * logits, logits, labels, size=17)
    assert again["calibration_error"].value == pytest.approx(scores["calibration_error"].value)
    same = measure(logits, logits, labels)["calibration_error_change"]
    assert (same.value, same.uncertainty) == (0, 0)


def test_images_without_a_label_do_not_count() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 3
    some = torch.where(torch.arange(50) < 20, -1, labels)
    assert measure(logits, logits, some)["calibration_error"].n == 30
    head = SimpleNamespace(predicts_labels=False)
    baseline: Any = SimpleNamespace(head=head, images=SimpleNamespace(labels=labels.numpy()))
    method: Any = SimpleNamespace(spec=SimpleNamespace(virtual=False))
    assert not CalibrationError.applies(method, baseline)
