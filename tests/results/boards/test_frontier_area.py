"""Upper envelope of settings and its area over the logarithm of the cost: closed forms, brute force, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.boards.frontier_area import area, envelope, shared_range

POINTS = st.lists(st.tuples(st.floats(1e-3, 1e4), st.floats(-1, 1)), min_size=2, max_size=8)


def test_a_straight_line_over_log_x_has_the_mean_of_its_ends() -> None:
    curve = envelope([1.0, 100.0], [0.2, 0.8])
    assert area(curve, 1.0, 100.0) == pytest.approx(0.5)
    # Half way on the logarithmic scale.
    assert curve.height(np.array([10.0])).tolist() == pytest.approx([0.5])
    assert area(curve, 10.0, 100.0) == pytest.approx(0.65)


def test_trapezoids_in_closed_form() -> None:
    curve = envelope([1.0, 10.0, 1000.0], [0.0, 0.6, 0.8])
    # One decade with a mean height of .3, two with .7.
    assert area(curve, 1.0, 1000.0) == pytest.approx((0.3 + 2 * 0.7) / 3)


def test_points_that_a_cheaper_one_reaches_are_left_out() -> None:
    curve = envelope([10.0, 1.0, 100.0, 10.0], [0.5, 0.6, 0.5, 0.1])
    assert (curve.x.tolist(), curve.y.tolist(), curve.points) == ([1.0, 100.0], [0.6, 0.6], (1, 1))
    assert area(curve, 1.0, 100.0) == pytest.approx(0.6)


def test_the_envelope_is_level_behind_its_best_point() -> None:
    curve = envelope([1.0, 10.0, 100.0], [0.2, 0.8, 0.4])
    assert (curve.x.tolist(), curve.y.tolist(), curve.points) == ([1.0, 10.0, 100.0], [0.2, 0.8, 0.8], (0, 1, 1))
    assert area(curve, 1.0, 100.0) == pytest.approx((0.5 + 0.8) / 2)


@given(POINTS)
def test_the_envelope_is_above_all_points_and_rises(points: list[tuple[float, float]]) -> None:
    x, y = zip(*points, strict=True)
    curve = envelope(x, y)
    assert (np.diff(curve.y) >= 0).all() and (np.diff(curve.x) > 0).all()
    assert (curve.height(np.array(x)) >= np.array(y) - 1e-9).all()
    assert all(y[number] == value for number, value in zip(curve.points, curve.y.tolist(), strict=True))


@given(POINTS)
def test_the_area_is_that_of_a_fine_sum(points: list[tuple[float, float]]) -> None:
    x, y = zip(*points, strict=True)
    low, high = min(x), max(x)
    if high < 1.001 * low:
        return
    curve = envelope(x, y)
    middle = np.exp(np.log(low) + (np.arange(20_000) + 0.5) / 20_000 * (math.log(high) - math.log(low)))
    assert area(curve, low, high) == pytest.approx(float(curve.height(middle).mean()), abs=1e-3)


def test_another_setting_above_the_envelope_raises_the_area_and_one_that_is_beaten_does_not_change_it() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        x, y = np.exp(generator.uniform(0, 5, 5)).tolist(), generator.random(5).tolist()
        limits = min(x), max(x)
        curve = envelope(x, y)
        between = float(np.exp(generator.uniform(*np.log(limits))))
        height = float(curve.height(np.array([between]))[0])
        assert area(envelope([*x, between], [*y, height + 0.1]), *limits) > area(curve, *limits)
        beaten = max(value for cost, value in zip(x, y, strict=True) if cost <= between)
        assert area(envelope([*x, between], [*y, beaten]), *limits) == pytest.approx(area(curve, *limits))


def test_a_setting_below_the_straight_line_replaces_it() -> None:
    """A measurement counts more than the line between its neighbours, so the area may fall."""
    assert area(envelope([1.0, 100.0], [0.0, 1.0]), 1.0, 100.0) == pytest.approx(0.5)
    assert area(envelope([1.0, 10.0, 100.0], [0.0, 0.1, 1.0]), 1.0, 100.0) == pytest.approx((0.05 + 0.55) / 2)


def test_ranges_that_all_share() -> None:
    assert shared_range([(1.0, 40.0), (5.0, 100.0)]) == (5.0, 40.0)
    assert shared_range([(1.0, 5.0), (5.0, 9.0)]) is None
    assert shared_range([(1.0, 2.0), (5.0, 9.0)]) is None
    assert shared_range([]) is None
