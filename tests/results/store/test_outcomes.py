"""Outcomes of images as columns of a store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from results.store.outcomes import ImageOutcome


def test_packed_columns_give_the_outcome_back() -> None:
    counted = np.random.default_rng(0).random(11) < 0.7
    outcome = ImageOutcome(counted, counted & (np.arange(11) % 2 == 0))
    unpacked = ImageOutcome.unpacked(**outcome.packed())
    assert unpacked is not None
    assert all(np.array_equal(*sides) for sides in zip(unpacked, outcome, strict=True))


@pytest.mark.parametrize(
    ("n", "counted", "positive"),
    [
        (None, b"\xff", b"\xff"),
        (float("nan"), b"\xff", b"\xff"),
        ("8", b"\xff", b"\xff"),
        (-7, b"", b""),
        (9, b"\xff", b"\xff"),
        (2**62, b"\xff", b"\xff"),
        (8, None, b"\xff"),
        (8, "\xff", b"\xff"),
        (8, b"\xff", ["\xff"]),
    ],
)
def test_columns_that_do_not_fit_together_are_no_outcome(n: Any, counted: Any, positive: Any) -> None:
    """The store of somebody else may have columns of any type."""
    assert ImageOutcome.unpacked(n, counted, positive) is None
