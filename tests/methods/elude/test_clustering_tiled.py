"""The blocked clustering path: the same tree as in memory, whatever the memory it is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.elude import core_distances, tiled
from methods.elude.clustering import cluster, unit_rows
from methods.elude.core_distances import smallest
from methods.elude.spanning_tree import matrix_products, spanning_tree
from methods.elude.tiled import between_components, detour, tiled_spanning_tree
from methods.elude.tiles import Tiles

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the tiled path ran on the CPU only"
)


def contributions(seed: int, n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(5, 24, generator=generator)
    kind = torch.randint(5, (n,), generator=generator)
    hidden = parts[kind] + 0.5 * torch.randn(n, 24, generator=generator)
    q = torch.nn.functional.gelu(hidden @ torch.randn(24, d, generator=generator) / 24**0.5)
    return unit_rows(torch.randn(d, generator=generator) * q)[0]


def assert_same_tree(x: torch.Tensor, k: int, memory_bytes: int) -> None:
    """Edge for edge: both paths order equal weights alike."""
    inside, blocked = spanning_tree(x, k), tiled_spanning_tree(x, k, memory_bytes)
    np.testing.assert_array_equal(blocked.low, inside.low)
    np.testing.assert_array_equal(blocked.high, inside.high)
    np.testing.assert_allclose(blocked.weight, inside.weight, rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(blocked.core, inside.core, rtol=1e-12, atol=1e-30)


# From everything in one tile down to a row at a time and rounds of Boruvka's algorithm alone.
@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 20, 1 << 16, 1])
@pytest.mark.parametrize("min_samples", [1, 5, 30])
def test_same_tree_on_contributions(min_samples, memory_bytes):
    assert_same_tree(contributions(0, 160, 160), min_samples, memory_bytes)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(2, 70),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from([1, 3000, 40000, 1 << 24]),
)
def test_same_tree_on_any_points(seed, n, k, d, memory_bytes):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    assert_same_tree(x, min(k, n - 1), memory_bytes)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 90), st.integers(1, 12), st.sampled_from([1, 40000]))
def test_same_weights_where_everything_ties(seed, n, k, memory_bytes):
    # More points share a distance than the neighbours that are kept: the edges may differ, their weights may not.
    x = torch.randint(0, 3, (n, 2), generator=torch.Generator().manual_seed(seed)).float()
    inside, blocked = spanning_tree(x, min(k, n - 1)), tiled_spanning_tree(x, min(k, n - 1), memory_bytes)
    np.testing.assert_array_equal(blocked.weight, inside.weight)
    np.testing.assert_array_equal(blocked.core, inside.core)


def test_many_components_are_left_to_boruvka(monkeypatch):
    rounds = []
    plain = tiled.out_of_components
    monkeypatch.setattr(tiled, "out_of_components", lambda *a: rounds.append(a[-1]) or plain(*a))
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(2))
    # A nearest neighbour graph leaves about n / 3 components; a table two wide has no room for them.
    assert_same_tree(x, 1, 1)
    assert rounds and rounds[0] > 80


def test_real_structure_needs_no_round_but_the_table(monkeypatch):
    monkeypatch.setattr(tiled, "out_of_components", lambda *a: pytest.fail("a round of Boruvka's algorithm was run"))
    assert_same_tree(contributions(1, 600, 64), 20, 1 << 22)


def test_labels_do_not_depend_on_memory():
    x = contributions(3, 500, 96)
    x[5] = 0
    inside = cluster(x, min_cluster_size=15)
    for memory_bytes in (4 * 499 * 499 - 1, 1 << 16):
        blocked = cluster(x, min_cluster_size=15, memory_bytes=memory_bytes)
        assert torch.equal(inside.labels, blocked.labels)
        torch.testing.assert_close(inside.probabilities, blocked.probabilities, atol=1e-7, rtol=0)
    assert inside.n_clusters >= 2


def test_same_bits_again():
    x = contributions(4, 500, 96)
    first, second = tiled_spanning_tree(x, 12, 1 << 18), tiled_spanning_tree(x, 12, 1 << 18)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_processor_selection_is_topk():
    squares = torch.rand(300, 700, generator=torch.Generator().manual_seed(6))
    values, columns = smallest(squares, 40)
    expected = squares.topk(40, dim=1, largest=False, sorted=True)
    assert torch.equal(values, expected.values) and torch.equal(columns, expected.indices)


def test_the_code_of_the_gpu_gives_the_same_tree(monkeypatch):
    # All that a GPU without Triton does differently is to select with topk.
    monkeypatch.setattr(
        core_distances, "smallest", lambda squares, width: squares.topk(width, dim=1, largest=False, sorted=True)
    )
    assert_same_tree(contributions(5, 400, 64), 15, 1 << 18)


def test_reduced_precision_allowed_by_the_caller_is_not_used():
    before = torch.get_float32_matmul_precision()
    x = contributions(7, 600, 512)
    plain, expected = x @ x.T, spanning_tree(x, 10)
    try:
        for allowed in ("medium", "high", "highest"):
            torch.set_float32_matmul_precision(allowed)
            with matrix_products():
                torch.testing.assert_close(x @ x.T, plain, atol=1e-6, rtol=0)
            assert torch.get_float32_matmul_precision() == allowed
            np.testing.assert_array_equal(spanning_tree(x, 10).weight, expected.weight)
    finally:
        torch.set_float32_matmul_precision(before)


def test_threads_that_disagree_compute_in_plain_float32():
    """A thread that ends its clustering must not change the products of one that still computes."""
    switch = torch.backends.cuda.matmul
    if not hasattr(switch, "fp32_precision"):
        pytest.skip("torch before 2.9 has one switch for all")
    before = switch.fp32_precision
    first, second, third = matrix_products("tf32"), matrix_products("tf32"), matrix_products("ieee")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert switch.fp32_precision == "tf32", "the second one has not ended"
    third.__enter__()
    assert switch.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    third.__exit__(None, None, None)
    assert switch.fp32_precision == before


def test_blocks_keep_to_the_memory_they_are_given():
    for n, memory_bytes in ((50_000, 1 << 30), (400_000, 1 << 30)):
        tiles = Tiles.__new__(Tiles)
        tiles.n, tiles.d = n, 4
        tiles.plan(memory_bytes)
        assert tiles.strip_rows * n * 4 * 4 <= memory_bytes
        assert tiles.tile_side**2 * 4 * 4 <= memory_bytes
        assert tiles.table_width * n * 4 * 4 <= memory_bytes


def test_detour_is_the_heaviest_edge_of_the_path():
    # 0 -1- 1 -5- 2 -2- 3, and dearer direct edges
    table = np.array([[np.inf, 1, 9, 9], [1, np.inf, 5, 9], [9, 5, np.inf, 2], [9, 9, 2, np.inf]])
    assert detour(table).tolist() == [[0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 2], [5, 5, 2, 0]]


def test_table_holds_the_rest_of_the_tree():
    x = torch.cat([torch.randn(40, 3, generator=torch.Generator().manual_seed(i)) + 20 * i for i in range(3)])
    component = torch.arange(3).repeat_interleave(40)
    core = torch.zeros(120, dtype=torch.float64)
    low, high, weight = between_components(Tiles(x, 1 << 20), core, component, 3)
    exact = (x[low].double() - x[high].double()).square().sum(1).numpy()
    np.testing.assert_allclose(weight, exact, rtol=1e-12)
    nearest = [
        torch.cdist(x[40 * i : 40 * i + 40].double(), x[40 * i + 40 : 40 * i + 80].double()).min() for i in (0, 1)
    ]
    # An edge is found from either end.
    np.testing.assert_allclose(np.unique(np.sqrt(weight)), np.sort(nearest), rtol=1e-9)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("min_samples", [1, 15])
def test_same_tree_on_a_gpu(min_samples):
    x = contributions(8, 800, 256)
    inside, blocked = spanning_tree(x, min_samples), tiled_spanning_tree(x.cuda(), min_samples, 1 << 24)
    np.testing.assert_allclose(blocked.weight, inside.weight, rtol=1e-12)
    assert torch.equal(cluster(x.cuda(), min_cluster_size=15).labels.cpu(), cluster(x, min_cluster_size=15).labels)
