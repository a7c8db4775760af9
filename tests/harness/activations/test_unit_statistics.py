"""Counts of the evaluation pass over units, tokens and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.activations.unit_statistics import UnitStatistics
from harness.metrics.base import Batch, Outcome
from harness.metrics.l0 import L0


def test_tokens_and_images_are_counted_over_batches() -> None:
    found = UnitStatistics(4, 2)
    found.update(torch.ones(2, 3, 4), torch.tensor([0, 1]))
    assert (found.n_tokens, found.n_images, found.n_units) == (6, 2, 4)
    found.update(torch.ones(1, 3, 4), torch.tensor([5]))
    assert (found.n_tokens, found.n_images) == (9, 3)


def test_the_peaks_of_a_batch_are_those_of_the_table_of_units() -> None:
    codes = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [3.0, -1.0]], [[5.0, 2.0], [4.0, 2.0], [0.0, 2.0]]])
    units = UnitStatistics(2, 2)
    peaks = units.update(codes, torch.tensor([3, 7]))
    assert peaks.value.tolist() == [[3, 0], [5, 2]]
    order = torch.argsort(units.top_image, dim=0)
    assert torch.equal(peaks.token, units.top_token.gather(0, order))
    assert torch.equal(peaks.value, units.top_value.gather(0, order))


def test_l0_is_a_mean_over_all_tokens() -> None:
    """Image 0 has 1, 2 and 3 active units on its three tokens, image 1 has 0, 0 and 3."""
    codes = torch.zeros(2, 3, 4)
    for image, token, active in ((0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 2, 3)):
        codes[image, token, :active] = -1.0 if active == 1 else 2.0
    baseline: Any = SimpleNamespace()
    units, metric, nothing = UnitStatistics(4, 2), L0(baseline), torch.zeros(2)
    peaks = units.update(codes, torch.tensor([0, 1]))
    metric.update(Batch(nothing, nothing, nothing, nothing, codes, nothing, nothing, *peaks))
    method: Any = SimpleNamespace(parents=None)
    (score,) = metric.compute(Outcome(method, units, baseline, 1))
    assert (score.value, score.n) == (9 / 6, 6)
    # Means 2 and 1 of the two images: s = 1 / sqrt(2), s / sqrt(2).
    assert score.uncertainty == pytest.approx(0.5)


def test_the_histogram_counts_images_in_half_octaves_below_the_largest_activation() -> None:
    units = UnitStatistics(2, 1)
    # Maxima 8, 8, 4, 1 of unit 0: two half octaves per factor of two. Unit 1 is positive on one image.
    for index, maxima in enumerate([(8.0, 0.0), (1.0, -1.0), (4.0, 1e-30), (8.0, 0.0)]):
        units.update(torch.tensor(maxima).expand(1, 3, 2), torch.tensor([index]))
    assert units.peak_histogram(8).tolist() == [[2, 0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    assert UnitStatistics(2, 1).peak_histogram(3).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_histogram_does_not_depend_on_the_batches() -> None:
    peaks = torch.randn(20, 1, 5, generator=torch.Generator().manual_seed(1)).exp()
    together, apart = UnitStatistics(5, 2), UnitStatistics(5, 2)
    together.update(peaks, torch.arange(20))
    for start in range(0, 20, 7):
        apart.update(peaks[start : start + 7], torch.arange(start, min(start + 7, 20)))
    assert (together.peak_histogram() == apart.peak_histogram()).all()
