"""Draws, front shares and rank intervals: closed-form points and the definition."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from results import pareto_front
from results.boards.uncertainty import rank_intervals
from results.pareto import front_shares
from results.published.points import published_points


def test_rows_that_are_exact_are_on_the_front_always_or_never() -> None:
    x = np.tile([1.0, 0.8, 0.7], (10, 1))
    y = np.tile([0.5, 0.6, 0.55], (10, 1))
    assert front_shares(x, y).tolist() == [1.0, 1.0, 0.0]
    assert front_shares(x, y, larger_y=False).tolist() == [1.0, 0.0, 0.0]


def test_two_equal_means_with_the_same_error_share_the_front_half_and_half() -> None:
    y = np.random.default_rng(0).normal(0.5, 0.1, (20_000, 2))
    share = front_shares(np.ones_like(y), y)
    assert share.sum() == pytest.approx(1.0)
    assert share[0] == pytest.approx(0.5, abs=0.02)


def test_the_probability_of_one_being_ahead_is_the_normal_distributions() -> None:
    # P(N(0.6, 0.1) > N(0.5, 0.1)) = Phi(1 / sqrt 2)
    y = np.random.default_rng(1).normal([0.6, 0.5], 0.1, (40_000, 2))
    assert front_shares(np.zeros_like(y), y)[0] == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.01)


def test_it_is_the_definition_of_the_front_draw_by_draw() -> None:
    generator = np.random.default_rng(3)
    x = generator.integers(0, 4, (300, 7)).astype(float)
    y = generator.integers(0, 4, (300, 7)).astype(float)
    y[generator.random(y.shape) < 0.1] = math.nan
    for larger_x, larger_y in ((True, True), (True, False), (False, True)):
        one_by_one = [
            pareto_front(pd.DataFrame({"x": a, "y": b}), "x", "y", larger_x, larger_y)
            for a, b in zip(x, y, strict=True)
        ]
        assert front_shares(x, y, larger_x, larger_y).tolist() == np.mean(one_by_one, axis=0).tolist()


def test_draws_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        front_shares(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="at least one draw"):
        front_shares(np.zeros((0, 2)), np.zeros((0, 2)))


def test_rank_intervals_of_separate_and_of_level_rows() -> None:
    drawn = np.tile([3.0, 1.0, 1.0, math.nan], (10, 1))
    assert rank_intervals(drawn, larger=True) == [(1, 1), (2, 2), (2, 2), None]
    assert rank_intervals(drawn, larger=False) == [(3, 3), (1, 1), (1, 1), None]
    level = np.random.default_rng(0).normal(size=(2000, 2))
    assert rank_intervals(level, larger=True) == [(1, 2), (1, 2)]


def test_published_points_are_the_papers_figures() -> None:
    points = {(point.setting, point.method): point for point in published_points()}
    elude = points["AugReg ViT-B/16, layer 12, expansion factor 8 (Table 2)", "ELUDe"]
    assert elude.values == pytest.approx({"ms_score": 0.7105, "accuracy": 0.851, "r2": 1.0, "win_rate": 0.7793})
    assert elude.errors["ms_score"] == pytest.approx((0.7099, 0.7111))
    assert elude.errors["win_rate"] == pytest.approx((0.763, 0.794))
    backbone = points["AugReg ViT-B/16, layer 12, expansion factor 8 (Table 2)", "backbone only"]
    assert backbone.expansion_factor is None
    assert "ms_score" not in backbone.errors
