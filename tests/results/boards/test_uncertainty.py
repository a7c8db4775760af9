"""Draws, front shares, rank intervals and the weighted aggregate: closed-form points and the definition."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from results import pareto_front
from results.boards.board import Aggregate
from results.boards.uncertainty import (
    Estimate,
    draws,
    estimate_of,
    intervals,
    rank_intervals,
    samples_images,
    unknown_errors,
)
from results.boards.weighted_mean import SCALES, SCALES_VERSION, weighted
from results.pareto import front_shares
from results.published.points import published_points


def aggregate(mean: float, std: float | None, n: int, error: float | None = None, **changes: object) -> Aggregate:
    fields: dict[str, object] = {
        "mean": mean,
        "std": std,
        "n": n,
        "values": (mean,) * n,
        "standard_error": error,
        "n_undefined": 0,
        "direction": "higher",
        "unit": "fraction",
    }
    return Aggregate(**(fields | changes))  # type: ignore[arg-type]


def test_rows_that_are_exact_are_on_the_front_always_or_never() -> None:
    x = np.tile([1.0, 0.8, 0.7], (10, 1))
    y = np.tile([0.5, 0.6, 0.55], (10, 1))
    assert front_shares(x, y).tolist() == [1.0, 1.0, 0.0]
    assert front_shares(x, y, larger_y=False).tolist() == [1.0, 0.0, 0.0]


def test_two_equal_means_with_the_same_error_share_the_front_half_and_half() -> None:
    estimates: dict[str, Estimate | None] = {name: Estimate(mean=0.5, sampling_error=0.1) for name in ("a", "b")}
    y = draws(estimates, metric="y", n_draws=20_000)
    share = front_shares(np.ones_like(y), y)
    assert share.sum() == pytest.approx(1.0)
    assert share[0] == pytest.approx(0.5, abs=0.02)


def test_the_probability_of_one_being_ahead_is_the_normal_distributions() -> None:
    # P(N(0.6, 0.1) > N(0.5, 0.1)) = Phi(1 / sqrt 2)
    y = draws(
        {"a": Estimate(mean=0.6, sampling_error=0.1), "b": Estimate(mean=0.5, sampling_error=0.1)}, n_draws=40_000
    )
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


def test_a_lucky_set_of_images_moves_all_rows_alike() -> None:
    shared = {name: Estimate(mean=0.74, sampling_error=0.04, shared=True) for name in ("a", "b")}
    drawn = draws(shared)
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert drawn[:, 0].std() == pytest.approx(0.04, rel=0.1)
    apart = draws({name: Estimate(mean=0.74, sampling_error=0.04) for name in ("a", "b")})
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.1
    assert samples_images("jackknife over groups of images")
    assert not samples_images("units, clustered by parent")
    assert not samples_images(None)


def test_three_seeds_have_students_interval_and_one_seed_has_the_cells() -> None:
    three = estimate_of(aggregate(0.5, 0.03, 3))
    (low, high), *_ = intervals(draws({"a": three}, n_draws=40_000))
    # t(2) at 97.5 % is 4.303
    assert (high - low) / 2 == pytest.approx(4.303 * 0.03 / math.sqrt(3), rel=0.05)
    one = estimate_of(aggregate(0.5, None, 1, 0.02))
    (low, high), *_ = intervals(draws({"a": one}, n_draws=40_000))
    assert (high - low) / 2 == pytest.approx(1.96 * 0.02, rel=0.03)


def test_a_pooled_interval_is_taken_as_it_is() -> None:
    estimate = estimate_of(aggregate(0.57, None, 1, interval=(0.53, 0.61)))
    assert estimate.sampling_error == pytest.approx(0.08 / 3.92, rel=1e-3)


def test_a_row_of_which_no_error_is_known_is_exact_and_said_to_be() -> None:
    exact = estimate_of(aggregate(0.5, None, 1))
    assert unknown_errors([("a", exact), ("b", None), ("c", Estimate(mean=1.0))]) == ["a"]
    assert set(draws({"a": exact}).ravel()) == {0.5}


def test_draws_depend_on_the_seed_and_not_on_who_else_is_shown() -> None:
    estimate = Estimate(mean=0.5, seed_error=0.1, freedom=2)
    alone, among = draws({"a": estimate}), draws({"x": estimate, "a": estimate, "none": None})
    assert np.array_equal(alone[:, 0], among[:, 1])
    assert np.isnan(among[:, 2]).all()
    assert not np.array_equal(alone[:, 0], among[:, 0])
    assert not np.array_equal(alone, draws({"a": estimate}, seed=1))
    assert not np.array_equal(alone, draws({"a": estimate}, metric="r2"))


def test_rank_intervals_of_separate_and_of_level_rows() -> None:
    drawn = draws({"a": Estimate(mean=3.0), "b": Estimate(mean=1.0), "c": Estimate(mean=1.0), "none": None}, n_draws=10)
    assert rank_intervals(drawn, larger=True) == [(1, 1), (2, 2), (2, 2), None]
    assert rank_intervals(drawn, larger=False) == [(3, 3), (1, 1), (1, 1), None]
    level = draws({name: Estimate(mean=0.0, sampling_error=1.0) for name in ("a", "b")})
    assert rank_intervals(level, larger=True) == [(1, 2), (1, 2)]


def test_the_aggregate_is_the_weighted_mean_of_places_on_fixed_scales() -> None:
    values = {"ms_score": np.array([0.5, 0.8]), "kl": np.array([0.25, 2.0])}
    # kl runs from 1 nat (0) to 0 nat (1) and is cut off beyond.
    assert weighted(values, {"ms_score": 1.0, "kl": 3.0}).tolist() == [(0.5 + 3 * 0.75) / 4, 0.8 / 4]


def test_another_method_changes_nobodys_aggregate() -> None:
    one = weighted({"ms_score": np.array([0.5])}, {"ms_score": 1.0})
    assert weighted({"ms_score": np.array([0.5, 0.99])}, {"ms_score": 1.0})[0] == one[0]


def test_a_row_without_a_weighted_metric_has_no_aggregate() -> None:
    values = {"ms_score": np.array([0.5, 0.5]), "r2": np.array([1.0, math.nan])}
    assert math.isnan(weighted(values, {"ms_score": 1.0, "r2": 1.0})[1])
    assert weighted(values, {"ms_score": 1.0, "r2": 0.0}).tolist() == [0.5, 0.5]


def test_nothing_to_weigh_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        weighted({"ms_score": np.array([0.5])}, {"ms_score": 0.0})
    with pytest.raises(ValueError, match="'l0' has no reference scale"):
        weighted({"l0": np.array([20.0])}, {"l0": 1.0})


def test_the_reference_scales_must_not_change() -> None:
    ends = {name: (scale.worst, scale.best) for name, scale in SCALES.items()}
    assert SCALES_VERSION == 1
    assert (ends["ms_score"], ends["kl"], ends["unit_overlap"]) == ((0.0, 1.0), (1.0, 0.0), (1.0, 0.0))


def test_published_points_are_the_papers_figures() -> None:
    points = {(point.setting, point.method): point for point in published_points()}
    elude = points["AugReg ViT-B/16, layer 12, expansion factor 8 (Table 2)", "ELUDe"]
    assert elude.values == pytest.approx({"ms_score": 0.7105, "accuracy": 0.851, "r2": 1.0, "win_rate": 0.7793})
    assert elude.errors["ms_score"] == pytest.approx((0.7099, 0.7111))
    assert elude.errors["win_rate"] == pytest.approx((0.763, 0.794))
    backbone = points["AugReg ViT-B/16, layer 12, expansion factor 8 (Table 2)", "backbone only"]
    assert backbone.expansion_factor is None
    assert "ms_score" not in backbone.errors
