"""Expected calibration error of the network after the layer's output is replaced (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.errors import ArgumentError
from harness.identity import seed_of
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from methods.base import Method

#: Bins of equal width, and draws of the null and of the bootstrap.
BINS, DRAWS = 15, 1000


def calibration_error(confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """Return the expected calibration error, ``sum_b (n_b / n) |share right in b - mean confidence in b|``.

    Args:
        confidence: (n,) probability of the predicted class.
        right: (..., n) bool or numbers, 1 for a right prediction.
        bins: number of bins of equal width; a confidence on an edge belongs to the lower bin.

    Returns:
        (...) float64; NaN for n = 0.

    Raises:
        ArgumentError: if the shapes do not match, or a confidence is not between 0 and 1.
    """
    confidence, right = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if confidence.ndim != 1 or right.shape[-1:] != confidence.shape:
        raise ArgumentError(
            f"calibration_error: confidence {confidence.shape} and right {right.shape} must have the shapes (n,) and "
            "(..., n)."
        )
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ArgumentError("calibration_error: a confidence is not between 0 and 1.")
    n = len(confidence)
    if not n:
        return np.full(right.shape[:-1], np.nan)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    members = np.eye(bins)[index]
    gaps: np.ndarray = np.abs(right @ members - confidence @ members).sum(-1) / n
    return gaps


@METRICS.register()
class CalibrationError(Metric):
    """Expected calibration error of the network with the layer replaced, on labelled images.

    The images are binned by the probability of their predicted class (15 bins of equal width); the value is the mean
    over images of the distance between a bin's share of right predictions and its mean probability. Few images leave
    such a distance even for perfect probabilities: ``calibration_error_null`` is the mean error if each prediction were
    right with its own probability (1000 draws). Companions: ``calibration_error_original``, of the unmodified network,
    and ``calibration_error_change``, the difference. Standard errors are from a bootstrap over images, paired for the
    difference. The metric is skipped where accuracy is.
    """

    id = "calibration_error"
    title = "expected calibration error"
    direction = "lower"
    reference = "Guo et al. 2017 (On Calibration of Modern Neural Networks)"
    default = False

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self._rows: list[Tensor] = []

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        labelled = bool((baseline.images.labels >= 0).any())
        return labelled and baseline.head.predicts_labels and not method.spec.virtual

    @property
    def params(self) -> dict[str, Any]:
        return {"bins": BINS}

    def update(self, batch: Batch) -> None:
        target = self.baseline.head.targets(batch.label)
        columns = []
        for logits in (batch.logits, batch.clean_logits):
            confidence, predicted = torch.softmax(logits.double(), 1).max(1)
            columns += [confidence.cpu(), (predicted.cpu() == target.cpu()).double()]
        # Four numbers per image.
        self._rows.append(torch.stack(columns, 1)[target.cpu() >= 0])

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        confidence, right, clean_confidence, clean_right = torch.cat(self._rows).numpy().T
        n = len(confidence)
        generator = np.random.default_rng(seed_of("calibration error"))
        drawn = generator.random((DRAWS, n)) < confidence
        null = calibration_error(confidence, drawn)
        value, original = calibration_error(confidence, right), calibration_error(clean_confidence, clean_right)
        resampled = []
        for _ in range(DRAWS):
            rows = generator.integers(0, n, n)
            resampled.append(
                (
                    calibration_error(confidence[rows], right[rows]),
                    calibration_error(clean_confidence[rows], clean_right[rows]),
                )
            )
        one, two = np.asarray(resampled).T
        errors = [float(np.std(each, ddof=1)) for each in (one, two, one - two)]
        yield self.score(float(value), n, errors[0], "images, bootstrap")
        yield Score("calibration_error_null", float(null.mean()), n, direction="none")
        yield Score("calibration_error_original", float(original), n, errors[1], "images, bootstrap", direction="none")
        change = float(value - original)
        yield Score("calibration_error_change", change, n, errors[2], "images, bootstrap", direction="lower")
