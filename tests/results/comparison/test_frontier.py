"""Frontiers of the methods of a store: areas in closed form, intervals over seeds, and why there is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frontier_store import curves, one, setting
from scipy.stats import t

from results import open_store
from results.comparison.frontier import frontiers
from results.errors import StoreError
from results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "r.duckdb", read_only=False)


def test_two_methods_in_the_range_that_they_share(store: Store) -> None:
    for k, r2 in ((1, 0.2), (10, 0.5), (100, 0.8)):
        setting(store, "a", k, [r2] * 3)
    for k, r2 in ((10, 0.6), (1000, 1.0)):
        setting(store, "b", k, [r2] * 3)
    frontier = one(store)
    assert frontier.limits == (10.0, 100.0) and not frontier.is_given
    # .5 to .8 and .6 to .8, in straight lines over log L0.
    assert {title: curve.area for title, curve in curves(frontier).items()} == pytest.approx({"a": 0.65, "b": 0.7})
    assert [curve.title for curve in frontier.curves] == ["b", "a"]
    given = one(store, limits=(1.0, 100.0))
    assert curves(given)["a"].area == pytest.approx(0.5) and given.is_given
    assert curves(given)["b"].area is None
    assert curves(given)["b"].reason == "its l0 is 10 to 1000, and not all of the limits"


def test_the_interval_is_students_over_the_seeds(store: Store) -> None:
    for k, r2 in ((1, [0.1, 0.2, 0.3]), (10, [0.5, 0.6, 0.7])):
        setting(store, "a", k, r2)
    curve = curves(one(store))["a"]
    # The areas of the seeds are .3, .4 and .5.
    half = t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert curve.area == pytest.approx(0.4) and len(curve.areas) == 3
    assert curve.interval == pytest.approx((0.4 - half, 0.4 + half))


def test_the_error_within_cells_is_shared_by_all_settings(store: Store) -> None:
    for k, r2 in ((1, 0.2), (10, 0.6)):
        setting(store, "a", k, [r2] * 2, error=0.01 if k == 1 else 0.03)
    # The seeds are equal, so the mean error .02 is all.
    assert curves(one(store))["a"].interval == pytest.approx((0.4 - 1.96 * 0.02, 0.4 + 1.96 * 0.02), abs=1e-4)


def test_a_seed_with_more_units_and_a_larger_r2_is_on_the_same_curve(store: Store) -> None:
    """R2 is .2 log10 L0 in every seed, at other L0: no spread, whereas the means alone would have one."""
    for k in (1, 2, 3):
        for seed, factor in ((1, 0.5), (2, 1.0), (3, 2.0)):
            l0 = factor * 10.0**k
            setting(store, "a", k, [0.2 * math.log10(l0)], l0=l0, seeds=[seed])
    curve = curves(one(store, limits=(20.0, 500.0)))["a"]
    assert len(curve.areas) == 3
    spread = 0.0 if curve.interval is None else curve.interval[1] - curve.interval[0]
    assert spread < 0.01


def test_errors_of_images_add_up_within_a_curve_and_cancel_in_a_difference(store: Store) -> None:
    first, second = [0.02, -0.01, -0.03, 0.02], [0.02, 0.0, -0.04, 0.02]
    for k, r2 in ((1, 0.2), (100, 0.8)):
        setting(store, "a", k, [r2] * 2, groups=first)
        setting(store, "b", k, [r2 - 0.1] * 2, groups=second)
        setting(store, "c", k, [r2 - 0.2] * 2, groups=first)
    by_title = curves(one(store))
    half = t.ppf(0.975, 3) * np.std(first, ddof=1) / 2
    assert by_title["a"].interval == pytest.approx((0.5 - half, 0.5 + half)) and by_title["a"].behind is None
    # The seeds are equal, so the groups of images are all: paired, as in a t test of their differences.
    half = t.ppf(0.975, 3) * np.std(np.subtract(first, second), ddof=1) / 2
    assert by_title["b"].behind == pytest.approx(-0.1)
    assert by_title["b"].behind_interval == pytest.approx((-0.1 - half, -0.1 + half))
    assert by_title["c"].behind == pytest.approx(-0.2) and by_title["c"].behind_interval is None


def test_the_difference_is_paired_by_seed(store: Store) -> None:
    for k, r2 in ((1, 0.2), (100, 0.8)):
        setting(store, "a", k, [r2 - 0.1, r2, r2 + 0.1])
        setting(store, "b", k, [r2 - 0.21, r2 - 0.1, r2 + 0.01])
    by_title = curves(one(store))
    half = t.ppf(0.975, 2) * np.std([0.11, 0.1, 0.09], ddof=1) / math.sqrt(3)
    assert by_title["b"].behind_interval == pytest.approx((-0.1 - half, -0.1 + half))
    assert by_title["b"].interval is not None and by_title["b"].interval[1] - by_title["b"].interval[0] > 10 * half


def test_only_seeds_that_all_settings_share_count(store: Store) -> None:
    setting(store, "a", 1, [0.1, 0.2, 0.9], seeds=(1, 2, 3))
    setting(store, "a", 10, [0.9, 0.5, 0.6], seeds=(0, 1, 2))
    curve = curves(one(store))["a"]
    half = t.ppf(0.975, 1) * 0.1 / math.sqrt(2) / math.sqrt(2)
    assert len(curve.areas) == 2 and curve.interval is not None
    # Of seeds 1 and 2, the areas are .3 and .4.
    assert curve.interval[1] - curve.interval[0] == pytest.approx(2 * half)
    setting(store, "b", 1, [0.1, 0.2], seeds=(1, 2))
    setting(store, "b", 10, [0.5, 0.6], seeds=(3, 4))
    assert curves(one(store))["b"].reason == "no interval: its settings do not share two seeds"


def test_methods_without_a_curve_say_why(store: Store) -> None:
    setting(store, "single", 10, [0.5] * 3)
    setting(store, "same", 1, [0.5] * 3, l0=20.0)
    setting(store, "same", 2, [0.7] * 3, l0=20.0)
    setting(store, "dead", 1, [0.5] * 3, l0=0.0)
    setting(store, "dead", 2, [0.7] * 3, l0=math.nan)
    frontier = one(store)
    assert {title: curve.reason for title, curve in curves(frontier).items()} == {
        "single": "one setting is no curve",
        "same": "all settings have the same l0",
    }
    assert frontier.absent == ("dead",)
    assert frontier.limits is None
    setting(store, "low", 1, [0.5] * 3)
    setting(store, "low", 2, [0.5] * 3)
    setting(store, "high", 3, [0.5] * 3)
    setting(store, "high", 4, [0.5] * 3)
    of_two = curves(one(store))
    assert of_two["low"].reason == of_two["high"].reason
    assert of_two["low"].reason == "the methods share no range of l0: give limits, or fewer methods"
    assert curves(one(store, methods=["low"]))["low"].area == pytest.approx(0.5)


def test_controls_do_not_narrow_the_range(store: Store) -> None:
    for k, r2 in ((1, 0.2), (100, 0.8)):
        setting(store, "a", k, [r2] * 3)
    for k, r2 in ((10, 0.1), (20, 0.2)):
        setting(store, "random", k, [r2] * 3, claims={"family": "control"})
    frontier = one(store)
    assert frontier.limits == (1.0, 100.0) and curves(frontier)["random"].area is None
    assert [curve.group for curve in frontier.curves] == ["method", "control"]


def test_cells_of_sweeps_are_settings_too(store: Store) -> None:
    setting(store, "a", 10, [0.5] * 3, suite="main")
    setting(store, "a", 100, [0.9], suite="main-sweep")
    assert len(curves(one(store))["a"].points) == 2
    (alone,) = frontiers(store, suite="main")
    assert len(alone.curves[0].points) == 1


def test_rows_of_one_method_with_labels_of_their_own_are_one_curve(store: Store) -> None:
    setting(store, "topk_sae", 1, [0.2] * 3, label="TopK 1")
    setting(store, "topk_sae", 10, [0.6] * 3, label="TopK 10")
    assert [curve.title for curve in one(store).curves] == ["topk_sae"]
    assert curves(one(store, methods=["TopK 1"]))["TopK 1"].reason == "one setting is no curve"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "l1"}, r"No board here has the metric 'l1'\. Did you mean l0"),
        ({"y": "kl"}, "More kl is not better: choose a metric such as r2"),
        ({"x": "r2"}, "r2 is no cost: more of it is better"),
        ({"limits": (10.0, 5.0)}, "The limits 10:5 are no range"),
        ({"limits": (0.0, 5.0)}, "are no range"),
        ({"limits": (math.nan, 5.0)}, "are no range"),
        ({"methods": ["b"]}, r"No row here is of the method 'b'\. Available: a"),
    ],
)
def test_wrong_questions_are_one_sentence(store: Store, options: dict[str, Any], message: str) -> None:
    setting(store, "a", 1, [0.5] * 3)
    with pytest.raises(StoreError, match=message):
        frontiers(store, **options)


def test_an_empty_store_has_no_frontier(store: Store) -> None:
    assert not store.read_only
    assert frontiers(store) == []
