"""First places by all weights, and the least change of weights: closed forms, brute force and properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.boards.weight_sensitivity import Change, least_changes, weight_shares


def grid(n_metrics: int, steps: int) -> np.ndarray:
    """All weights whose parts are multiples of 1 / steps."""
    parts = itertools.product(range(steps + 1), repeat=n_metrics - 1)
    return np.array([(*head, steps - sum(head)) for head in parts if sum(head) <= steps]) / steps


def test_two_metrics_in_closed_form() -> None:
    # 0.9 t + 0.1 (1 - t) = 0.4 t + 0.8 (1 - t) at t = 0.7 / 1.2.
    shares = weight_shares(np.array([[0.9, 0.1], [0.4, 0.8]]))
    assert shares.tolist() == pytest.approx([1 - 0.7 / 1.2, 0.7 / 1.2])


def test_a_row_in_between_and_one_below() -> None:
    # The third row is first from t = 1/3 to 2/3; the fourth is dominated, the fifth lies below the line of the others.
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [2 / 3, 2 / 3], [0.5, 0.6], [0.8, 0.1]])
    shares = weight_shares(rows)
    assert shares.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0, 0.0])


def test_equal_rows_divide_their_share_and_a_tied_row_has_none() -> None:
    assert weight_shares(np.array([[0.5, 0.5], [0.5, 0.5]])).tolist() == [0.5, 0.5]
    # Tied at one end only.
    assert weight_shares(np.array([[0.5, 0.5], [0.5, 0.2]])).tolist() == [1.0, 0.0]
    assert weight_shares(np.array([[0.5], [0.7], [0.7]])).tolist() == [0.0, 0.5, 0.5]
    assert weight_shares(np.zeros((0, 3))).tolist() == []


def test_three_symmetric_rows_share_all_weights() -> None:
    shares = weight_shares(np.eye(3))
    assert shares.sum() == pytest.approx(1.0) and shares == pytest.approx(1 / 3, abs=0.02)
    dominated = weight_shares(np.vstack([np.eye(3), [0.2, 0.2, 0.2]]))
    assert dominated[3] == 0.0
    assert np.array_equal(shares, weight_shares(np.eye(3))) and not np.array_equal(
        shares, weight_shares(np.eye(3), seed=1)
    )


def test_the_corner_of_three_weights_has_its_area() -> None:
    # The first row is first if its weight is above 1/2: a triangle with a quarter of the area.
    rows = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    assert weight_shares(rows)[0] == pytest.approx(0.25, abs=0.015)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 20)] * 2), min_size=1, max_size=6))
def test_exact_shares_are_those_of_a_fine_grid(rows: list[tuple[int, int]]) -> None:
    positions = np.array(rows) / 20
    t = (np.arange(20_000) + 0.5) / 20_000
    scores = np.outer(t, positions[:, 0]) + np.outer(1 - t, positions[:, 1])
    is_first = scores >= scores.max(axis=1, keepdims=True) - 1e-12
    expected = (is_first / is_first.sum(axis=1, keepdims=True)).mean(axis=0)
    assert weight_shares(positions) == pytest.approx(expected, abs=1e-3)


def test_adding_a_dominated_row_changes_no_share() -> None:
    rows = np.random.default_rng(0).random((5, 3))
    assert weight_shares(np.vstack([rows, rows.min(axis=0) / 2]))[:5] == pytest.approx(weight_shares(rows))


def distances(changes: list[Change | None]) -> list[float]:
    return [math.inf if change is None else change.distance for change in changes]


def test_the_least_change_of_two_weights_in_closed_form() -> None:
    changes = least_changes(np.array([[0.9, 0.1], [0.4, 0.8], [0.3, 0.2]]), [0.75, 0.25])
    assert distances(changes) == pytest.approx([0.0, 0.75 - 0.7 / 1.2, math.inf])
    assert changes[1] is not None and changes[1].weights.tolist() == pytest.approx([0.7 / 1.2, 1 - 0.7 / 1.2])


def test_the_weight_moves_between_the_metrics_that_matter() -> None:
    # Only the weights of the first two metrics decide, so the third stays.
    changes = least_changes(np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), [0.4, 0.2, 0.4])
    assert distances(changes) == pytest.approx([0.0, 0.1])
    assert changes[1] is not None and changes[1].weights.tolist() == pytest.approx([0.3, 0.3, 0.4])


def test_a_row_that_is_at_best_tied_is_never_first() -> None:
    assert distances(least_changes(np.array([[0.5, 0.5], [0.5, 0.2]]), [0.5, 0.5])) == [0.0, math.inf]
    assert distances(least_changes(np.array([[0.5, 0.5], [0.5, 0.5]]), [0.5, 0.5])) == [0.0, 0.0]
    assert distances(least_changes(np.array([[0.5, 0.1]]), [1.0, 0.0])) == [0.0]


@pytest.mark.parametrize("seed", range(6))
def test_the_least_change_is_that_of_all_weights_on_a_grid(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions, steps = generator.random((5, 3)), 200
    weights = np.array([0.5, 0.3, 0.2])
    candidates = grid(3, steps)
    scores = candidates @ positions.T
    distance = np.abs(candidates - weights).sum(axis=1) / 2
    for number, change in enumerate(distances(least_changes(positions, weights))):
        is_first = scores[:, number] >= scores.max(axis=1)
        brute = distance[is_first].min() if is_first.any() else math.inf
        # A region narrower than the grid may be missed.
        assert change <= brute + 1e-9 and (brute - change < 3 / steps or math.isinf(brute))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 10_000))
def test_changed_weights_make_the_row_first(n: int, n_metrics: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions, weights = generator.random((n, n_metrics)), generator.dirichlet(np.ones(n_metrics))
    for number, change in enumerate(least_changes(positions, weights)):
        if change is not None:
            assert change.weights.sum() == pytest.approx(1) and change.weights.min() >= 0
            scores = positions @ change.weights
            assert scores[number] >= scores.max() - 1e-6
            assert change.distance == pytest.approx(np.abs(change.weights - weights).sum() / 2)
