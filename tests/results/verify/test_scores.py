"""Ranges of scores that `harness verify` accepts."""

from __future__ import annotations

import pytest
import torch

from harness.metrics import matched_cosine
from results.verify.scores import bounds_of


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        ("probe_transfer", (0, 1)),
        ("probe_transfer_gain", (-1, 1)),
        ("probe_transfer_drop", (-1, 1)),
        ("probe_transfer_gain_change", (-2, 2)),
        ("probe_dense_gain", (-1, 1)),
        ("sparse_probe_excess", (-1, 1)),
        ("tpp", (-2, 2)),
        ("robust_labels", (0, 1)),
        ("robust_labels_gain", (-1, 1)),
        ("autointerp_gap", (-1, 1)),
        ("absorption_excess", (-1, 1)),
        ("calibration_error_change", (-1, 1)),
    ],
)
def test_differences_of_shares_may_be_negative(metric: str, bounds: tuple[float, float]) -> None:
    assert bounds_of({"metric": metric, "unit": "fraction"}) == bounds


@pytest.mark.parametrize("metric", ["stability", "stability_alive", "stability_writer", "token_sensitivity"])
def test_a_penalty_for_unequal_counts_may_lower_a_cosine_below_its_range(metric: str) -> None:
    """Opposite atoms, three against one: -1 - 2/3."""
    assert bounds_of({"metric": metric, "unit": ""}) == (-2, 1)
    assert matched_cosine(torch.tensor([[1.0]]), -torch.ones(3, 1), full=True) == pytest.approx(-1 - 2 / 3)
