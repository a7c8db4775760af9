"""Weighted mean of positions on fixed scales: closed forms, missing metrics, and weights of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flagged_board import Cells
from hypothesis import given
from hypothesis import strategies as st

from results.boards.weighted_mean import normalised, positions, weighted


def test_the_score_is_the_weighted_mean_of_positions() -> None:
    placed = {"ms_score": np.array([0.5, 0.8]), "kl": np.array([0.75, 0.0])}
    assert weighted(placed, {"ms_score": 1.0, "kl": 3.0}).tolist() == [(0.5 + 3 * 0.75) / 4, 0.8 / 4]


def test_a_row_without_a_weighted_metric_has_no_score() -> None:
    placed = {"ms_score": np.array([0.5, 0.5]), "r2": np.array([1.0, math.nan])}
    assert math.isnan(weighted(placed, {"ms_score": 1.0, "r2": 1.0})[1])
    assert weighted(placed, {"ms_score": 1.0, "r2": 0.0}).tolist() == [0.5, 0.5]


def test_nothing_to_weigh_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        weighted({"ms_score": np.array([0.5])}, {"ms_score": 0.0})
    with pytest.raises(ValueError, match="'l0' has no values"):
        weighted({"ms_score": np.array([20.0])}, {"l0": 1.0})
    with pytest.raises(ValueError, match="'polysemanticity' has no reference scale"):
        positions([], "polysemanticity", np.zeros(0))


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1.7e308), min_size=1))
def test_weights_of_any_size_add_up_to_one(weights: dict[str, float]) -> None:
    if not any(weights.values()):
        return
    shares = normalised(weights)
    assert sum(shares.values()) == pytest.approx(1.0) and set(shares) == {key for key, w in weights.items() if w > 0}
    name = max(weights, key=lambda key: weights[key])
    assert shares[name] == max(shares.values())


def test_the_floors_are_those_of_the_row() -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.5], accuracy=0.7)
    cells.record("b", [0.5, 0.5], accuracy=0.7, agreement=None)
    board = cells.board()
    # Agreement: from .5 of mean ablation to 1. No cell here has the accuracy of the original network.
    assert positions(board.rows, "agreement", np.array([0.75, 0.75])).tolist() == [0.5, 0.5]
    assert np.isnan(positions(board.rows, "accuracy", np.array([[0.7, 0.7]]))).all()
