"""Flat clusters of a condensed tree: those of the hdbscan library to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hdbscan._hdbscan_tree import compute_stability, get_clusters
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.elude.hierarchy import condense, linkage
from methods.elude.selection import select
from methods.elude.spanning_tree import spanning_tree


def assert_same(x: torch.Tensor, k: int, size: int, method: str, epsilon: float) -> int:
    """Compare the selections from one condensed tree, and return the number of clusters."""
    condensed = condense(linkage(spanning_tree(x, k)), size)
    expected = get_clusters(condensed.copy(), compute_stability(condensed), method, False, False, epsilon)
    selection = select(condensed, len(x), method, epsilon)
    for ours, theirs in zip(selection, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return len(selection.persistence)


def blobs(seed: int, n: int, kinds: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(kinds, 3, generator=generator)
    return centres[torch.randint(kinds, (n,), generator=generator)] + torch.randn(n, 3, generator=generator)


@pytest.mark.parametrize("method", ["leaf", "eom"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 100.0])
def test_clusters_of_blobs(method: str, epsilon: float) -> None:
    counts = {assert_same(blobs(seed, 300, 6), 5, size, method, epsilon) for seed in range(4) for size in (5, 12, 40)}
    assert epsilon > 1 or max(counts) > 3


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(3, 80),
    st.integers(1, 8),
    st.integers(2, 12),
    st.sampled_from(["leaf", "eom"]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.booleans(),
)
def test_clusters_of_any_points(seed: int, n: int, k: int, size: int, method: str, epsilon: float, tied: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Equal points are at distance 0, where the density is infinite.
    x = torch.randint(0, 4, (n, 2), generator=generator).float() if tied else torch.randn(n, 2, generator=generator)
    assert_same(x, min(k, n - 1), min(size, n), method, epsilon)


def test_no_cluster() -> None:
    assert assert_same(torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), 5, 20, "leaf", 0.0) == 0


def test_all_points_equal() -> None:
    assert_same(torch.zeros(12, 2), 3, 4, "eom", 0.0)
