"""Differences of accuracies: closed forms, coverage, and details of a score that may hold anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t

from results.comparison.robust_sides import Side, from_error, gain_beyond_clean, gain_of, side_of, student, unpaired


def score(**changes: Any) -> dict[str, Any]:
    details = {"images": [0, 2, 3, 7], "right": [4, 0, 2, 4], "trials": 4, "draws": [0.75, 0.5], "clean": [1, 0, 1, 1]}
    return {"value": 0.625, "details": {**details, **changes}}


def test_predictions_are_read() -> None:
    side = side_of(score())
    assert side is not None
    assert side.images.tolist() == [0, 2, 3, 7] and side.share.tolist() == [1, 0, 0.5, 1]
    assert side.draws.tolist() == [0.75, 0.5] and side.clean.tolist() == [1, 0, 1, 1]
    assert side.fits(side) and not side.fits(side._replace(images=side.images + 1))
    assert not side.fits(side._replace(draws=side.draws[:1]))


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [0, 2, 3]}, {"images": [0, 0, 3, 7]}, {"images": None}, {"images": "0237"},
        {"images": [0, 1, 2, 1e30]}, {"trials": 10**400},
        {"right": [4, 0, 2, 5]}, {"right": [4, -1, 3, 4]}, {"right": [4, 0, 2, None]}, {"right": [4, 0, 2, math.nan]},
        {"right": [4, 0, 0, 4]}, {"trials": 0}, {"trials": True}, {"trials": 4.0}, {"trials": None},
        {"draws": []}, {"draws": [0.9, 0.9]}, {"draws": ["a"]}, {"clean": [2, 0, 1, 1]}, {"clean": [True] * 4},
        {"right": [[4], 0, 2, 4]},
    ],
)  # fmt: skip
def test_damaged_details_are_not_read(changes: dict[str, Any]) -> None:
    assert side_of(score(**changes)) is None


@pytest.mark.parametrize("other", [None, {}, {"details": None, "value": 1.0}, {"details": [], "value": 1.0}])
def test_missing_details_are_not_read(other: Any) -> None:
    assert side_of(other) is None
    assert side_of({**score(), "value": None}) is None


def test_the_interval_of_one_draw_is_students_over_images_with_the_least_error() -> None:
    values = np.array([0.5, 0.0, -0.25, 1.0, 0.25])
    made = student(values, np.array([values.mean()]))
    error = math.sqrt(values.var(ddof=1) / 5 + 1 / 25)
    reach = student_t.ppf(0.975, 4) * error
    assert (made.value, made.low, made.high) == pytest.approx((0.3, 0.3 - reach, 0.3 + reach))
    assert made.p == pytest.approx(2 * student_t.sf(0.3 / error, 4)) and (made.n, made.n_draws) == (5, 1)


def test_draws_add_their_variance_and_freedom() -> None:
    generator = np.random.default_rng(0)
    images, draws = generator.normal(0.1, 0.2, 50), np.array([0.0, 0.1, 0.2])
    made = student(images, draws)
    parts = images.var(ddof=1) / 50, draws.var(ddof=1) / 3
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 49 + parts[1] ** 2 / 2)
    reach = student_t.ppf(0.975, freedom) * math.sqrt(sum(parts) + 1 / 2500)
    assert made.high - made.low == pytest.approx(2 * reach) and 2 < freedom < 51


def test_equal_sides_have_no_gain_and_few_images_that_differ_are_not_significant() -> None:
    same = student(np.zeros(100), np.zeros(1))
    assert same.value == 0 and same.p == 1 and same.low < 0 < same.high
    # Four images of 100, all in favour of one side: McNemar's exact p is .125.
    few = student(np.array([1.0] * 4 + [0.0] * 96), np.array([0.04]))
    assert few.p is not None and few.p > 0.05
    certain = student(np.ones(100), np.ones(5))
    assert certain.p is not None and certain.p < 1e-10 and certain.low > 0.9
    one = student(np.ones(1), np.ones(1))
    assert one.p is None and math.isnan(one.low)


def test_the_interval_covers_as_often_as_stated() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        of_draw = generator.normal(0, 0.03, (5, 1))
        values = np.clip(
            np.round(generator.normal(0, 0.2, (1, 80)) + of_draw + generator.normal(0, 0.5, (5, 80))), -1, 1
        )
        made = student(values.mean(0), values.mean(1))
        inside += made.low <= 0 <= made.high
    assert 470 <= inside <= 500


def test_what_is_gained_beyond_the_clean_gain() -> None:
    images = np.arange(4)
    codes = Side(images, np.array([1, 1, 0.5, 0.5]), np.array([0.75]), np.array([1.0, 1, 1, 1]))
    layer = Side(images, np.array([0.5, 0.5, 0.5, 0]), np.array([0.375]), np.array([1.0, 1, 1, 0]))
    assert gain_of(codes, layer).value == pytest.approx(0.375)
    # The codes lose .25 and the layer .375.
    assert gain_beyond_clean(codes, layer).value == pytest.approx(0.125)


def test_a_standard_error_alone_gives_an_interval_and_errors_add() -> None:
    made = from_error(0.2, 0.05, 100)
    reach = student_t.ppf(0.975, 99) * math.hypot(0.05, 0.01)
    assert (made.low, made.high, made.n) == (pytest.approx(0.2 - reach), pytest.approx(0.2 + reach), 100)
    other = unpaired(made, from_error(0.1, 0.05, 100))
    assert other.value == pytest.approx(0.1) and not other.is_paired
    assert other.high - other.low == pytest.approx(2 * math.sqrt(2) * reach)
    for value, error, n in [(0.2, None, 100), (0.2, -1.0, 100), (0.2, math.nan, 100), (0.2, 0.1, None), (0.2, 0.1, 1)]:
        made = from_error(value, error, n)
        assert made.value == 0.2 and made.p is None and math.isnan(made.low)
        assert unpaired(made, made).p is None
    assert math.isnan(from_error(None, 0.1, 100).value) and math.isnan(from_error("x", 0.1, 100).value)
