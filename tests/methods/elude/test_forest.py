"""Order of edges, and points that share a core distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.elude.forest import edge_order, in_runs, shared_cores


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([1, 3, 40, 10**9]))
def test_the_order_of_edges_is_that_of_lexsort(seed: int, count: int, weights: int) -> None:
    generator = np.random.default_rng(seed)
    low, high = generator.integers(0, 4, count), generator.integers(0, 4, count)
    square = generator.integers(0, weights, count) / 7.0
    np.testing.assert_array_equal(edge_order(low, high, square), np.lexsort((high, low, square)))


@pytest.mark.parametrize("share_tied", [0.0, 0.01, 1.0])
def test_the_order_of_many_edges(share_tied: float) -> None:
    """numpy sorts long arrays in another way than short ones."""
    generator = np.random.default_rng(0)
    n = 50_000
    low, high = generator.integers(0, n, n), generator.integers(0, n, n)
    square = generator.random(n)
    tied = generator.random(n) < share_tied
    square[tied] = generator.choice([0.0, 0.25, 0.5], tied.sum())
    np.testing.assert_array_equal(edge_order(low, high, square), np.lexsort((high, low, square)))


def test_runs() -> None:
    assert in_runs(np.array([1.0, 1.0, 2.0, 3.0, 3.0, 3.0])).tolist() == [True, True, False, True, True, True]
    assert in_runs(np.zeros(0)).tolist() == [] and in_runs(np.zeros(1)).tolist() == [False]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), max_size=20))
def test_shared_core_distances(values: list[float]) -> None:
    expected = [i for i, value in enumerate(values) if value > 0 and values.count(value) > 1]
    assert shared_cores(np.array(values)).tolist() == expected
