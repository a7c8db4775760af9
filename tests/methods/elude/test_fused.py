"""Kernels for GPUs, in Triton's interpreter on the CPU, and the clustering that uses them beside the one without."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from methods.elude import core_distances, fused, near_points, tiled, tiles
from methods.elude.clustering import cluster, unit_rows
from methods.elude.spanning_tree import spanning_tree
from methods.elude.tiled import tiled_spanning_tree
from methods.elude.tiles import Tiles

pytest.importorskip("triton")


# Triton decides when it is imported whether programs are interpreted, so these tests run in a process of their own.
interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="run by test_in_the_interpreter")


def test_in_the_interpreter() -> None:
    """Run the tests below on the CPU."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("this is that process")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", __file__]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 20


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> fused.Kernels:
    """The kernels, used by every clustering of the test."""
    interpreted_kernels = fused.Kernels(importlib.import_module("methods.elude.fused_programs"))
    monkeypatch.setattr(tiles, "kernels", lambda device: interpreted_kernels)
    return interpreted_kernels


@pytest.fixture
def large_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare 512 pairs and 64 rows in each program, not 4 and 16: the interpreter takes about the same time for it."""
    monkeypatch.setattr(fused, "PAIRS", 512)
    monkeypatch.setattr(fused, "BLOCK_ROWS", 64)


def points(seed: int, n: int, d: int) -> torch.Tensor:
    """Return n unit rows of five kinds."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randn(5, d, generator=generator)[torch.randint(5, (n,), generator=generator)]
    return unit_rows(kind + 0.7 * torch.randn(n, d, generator=generator))[0]


def squares_of(x: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x.double(), x.double()).square()


@interpreted
@pytest.mark.parametrize("d", [1, 3, 256, 300])
def test_exact_squares(kernels: fused.Kernels, d: int) -> None:
    x = torch.randn(9, d, generator=torch.Generator().manual_seed(0))
    i, j = torch.randint(9, (2, 31), generator=torch.Generator().manual_seed(1))
    expected = (x[i].double() - x[j].double()).square().sum(1)
    squares = kernels.exact_squares(x, i, j)
    torch.testing.assert_close(squares, expected, rtol=1e-14, atol=0)
    assert torch.equal(kernels.exact_squares(x, i[7:8], j[7:8]), squares[7:8]), "alone or with others: the same bits"
    assert kernels.exact_squares(x, i[:0], j[:0]).shape == (0,)


@interpreted
@pytest.mark.parametrize("side", [50, 64, 130, 200])
def test_lists_hold_the_points_within_their_limits(kernels: fused.Kernels, side: int) -> None:
    n, capacity = 200, 40
    x = points(0, n, 8)
    squares, norms = squares_of(x), x.square().sum(1)
    limits = squares.kthvalue(30, dim=1).values.float() + 1e-3
    limits[:3] = -1.0  # lists of nothing
    limits[3:6] = 9.0  # lists of everything: too long
    counts = torch.zeros(n, dtype=torch.int32)
    values = torch.full((n, capacity), torch.inf)
    columns = torch.full((n, capacity), n, dtype=torch.int32)
    for start in range(0, n, side):
        for other in range(start, n, side):
            dots = x[start : start + side] @ x[other : other + side].T
            kernels.keep_near(dots, norms, limits, (start, other), counts, values, columns)
    expected = squares <= limits.double()[:, None]
    assert torch.equal(counts.long(), expected.sum(1))
    for point in range(n):
        kept = columns[point][columns[point] < n].long()
        assert len(kept) == min(capacity, int(counts[point])) == len(kept.unique())
        assert bool(expected[point, kept].all())
        torch.testing.assert_close(values[point][: len(kept)].double(), squares[point, kept], atol=1e-5, rtol=0)


@interpreted
@pytest.mark.parametrize("shape", [(5, 7), (64, 128), (70, 300)])
def test_least_weight_of_each_component(kernels: fused.Kernels, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    rows, columns = torch.randn(shape[0], 6, generator=generator), torch.randn(shape[1], 6, generator=generator)
    ours = torch.randint(4, (shape[0],), generator=generator).int()
    theirs = torch.randint(4, (shape[1],), generator=generator).sort().values.int()
    core = 8 * torch.rand(shape[1], generator=generator)
    table = torch.full((shape[0], 5), torch.inf)
    table[0, :] = 0.5
    expected = table.clone()
    weight = torch.maximum(torch.cdist(rows, columns).square(), core)
    for row in range(shape[0]):
        for component in range(4):
            members = theirs == component
            if component != ours[row] and bool(members.any()):
                expected[row, component] = min(float(expected[row, component]), float(weight[row, members].min()))
    kernels.least_by_component(
        rows @ columns.T, (rows.square().sum(1), ours), (columns.square().sum(1), core, theirs), table
    )
    torch.testing.assert_close(table, expected, atol=1e-4, rtol=1e-5)


@interpreted
@pytest.mark.usefixtures("large_programs")
@pytest.mark.parametrize("products", ["float32", "tf32", "tf32x3", "bf16x3"])
@pytest.mark.parametrize("memory_bytes", [1 << 16, 1 << 20])
def test_the_same_tree_with_kernels(
    kernels: fused.Kernels, monkeypatch: pytest.MonkeyPatch, products: str, memory_bytes: int
) -> None:
    n, k = 200, 8
    x = points(1, n, 48)
    expected = spanning_tree(x, k)
    sizes = near_points.ListSizes(sample=100, rank=10, capacity=40)
    monkeypatch.setattr(tiled, "list_sizes", lambda *_: sizes)
    tree = tiled_spanning_tree(x, k, memory_bytes, products)
    for found, right in zip(tree[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(found, right)
    np.testing.assert_allclose(tree.weight, expected.weight, rtol=1e-12)
    np.testing.assert_allclose(tree.core, expected.core, rtol=1e-12)


@interpreted
@pytest.mark.usefixtures("large_programs")
@pytest.mark.parametrize("rank, capacity", [(1, 40), (12, 11), (100, 150), (12, 5)])
def test_lists_that_fail_are_replaced(
    kernels: fused.Kernels, monkeypatch: pytest.MonkeyPatch, rank: int, capacity: int
) -> None:
    """Too short by the estimate, too long for their capacity, both, or neither."""
    x = points(2, 150, 24)
    replaced: list[int] = []
    plain = near_points.core_squares
    monkeypatch.setattr(near_points, "core_squares", lambda *a: replaced.append(len(a[2])) or plain(*a))
    blocks = Tiles(x, 1 << 16)
    core, neighbours = near_points.core_squares_of_triangle(
        blocks, 10, near_points.ListSizes(sample=100, rank=rank, capacity=capacity), kernels
    )
    expected, within = core_distances.core_squares(blocks, 10)
    torch.testing.assert_close(core, expected, rtol=1e-13, atol=0)
    for found, right in zip(neighbours, within, strict=True):
        assert set(found.tolist()) - {150} == set(right.tolist()) - {150}
    assert replaced == [] if (rank, capacity) == (100, 150) else sum(replaced) > 25


@interpreted
@pytest.mark.usefixtures("large_programs")
def test_equal_points(kernels: fused.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances of 0, and more points at a core distance than a list holds."""
    x = points(3, 40, 16)[torch.randint(40, (200,), generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr(tiled, "list_sizes", lambda *_: near_points.ListSizes(sample=150, rank=12, capacity=30))
    tree, expected = tiled_spanning_tree(x, 9, 1 << 18), spanning_tree(x, 9)
    np.testing.assert_array_equal(tree.weight, expected.weight)
    np.testing.assert_array_equal(tree.core, expected.core)


@interpreted
@pytest.mark.usefixtures("large_programs")
def test_clusters_with_kernels(kernels: fused.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    x = points(4, 250, 32)
    expected = cluster(x, min_cluster_size=12)
    monkeypatch.setattr(tiled, "list_sizes", lambda *_: near_points.ListSizes(sample=125, rank=12, capacity=45))
    clusters = cluster(x, min_cluster_size=12, memory_bytes=1 << 18)
    assert expected.n_clusters > 1
    assert torch.equal(clusters.labels, expected.labels) and torch.equal(clusters.probabilities, expected.probabilities)


def test_sizes_of_lists() -> None:
    sizes = near_points.list_sizes(400_000, 1000, 17 << 30)
    assert sizes is not None
    expected_hits = 1001 * sizes.sample / 400_000
    assert 30 < expected_hits < 35 and sizes.rank > expected_hits + 3 * expected_hits**0.5
    assert sizes.capacity > sizes.rank * 400_000 / sizes.sample
    assert near_points.list_sizes(400_000, 1000, 1 << 30) is None, "the lists need 7 GB"
    assert near_points.list_sizes(4000, 40, 1 << 30) is None, "the sample would be everything"
    assert near_points.list_sizes(400_000, 5, 1 << 40) is None


@pytest.mark.parametrize("n, k", [(400, 300), (1500, 1000), (400_000, 399_999), (1001, 1000)])
def test_lists_as_long_as_rows_are_not_used(n: int, k: int) -> None:
    assert near_points.list_sizes(n, k, 1 << 60) is None


def test_the_sample_has_enough_columns_for_its_rank() -> None:
    for n in (100, 1000, 30_000):
        for k in range(1, n, max(1, n // 400)):
            sizes = near_points.list_sizes(n, k, 1 << 60)
            assert sizes is None or (sizes.rank <= sizes.sample <= n and k + 1 < sizes.capacity < n)


@interpreted
def test_a_trial_of_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    fused._tried.cache_clear()
    assert fused._tried(torch.device("cpu")) is not None
    for name in ("exact_squares", "least_by_component", "keep_near"):
        fused._tried.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(fused.Kernels, name, lambda *_: torch.zeros(4))
            with pytest.warns(UserWarning, match=rf"\(wrong results of {name}\)"):
                assert fused._tried(torch.device("cpu")) is None
    fused._tried.cache_clear()


@interpreted
def test_a_core_distance_that_spans_most_points(kernels: fused.Kernels) -> None:
    x = points(6, 400, 4)
    tree, expected = tiled_spanning_tree(x, 300, 1 << 24), spanning_tree(x, 300)
    np.testing.assert_allclose(tree.weight, expected.weight, rtol=1e-12)
    np.testing.assert_allclose(tree.core, expected.core, rtol=1e-12)


def test_a_gpu_on_which_triton_fails_is_used_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fused._tried.cache_clear()
    monkeypatch.setitem(sys.modules, "methods.elude.fused_programs", None)
    with pytest.warns(UserWarning, match=r"Triton fails on this GPU \(ModuleNotFoundError.*slower\.$"):
        assert fused._tried(torch.device("cpu")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fused._tried(torch.device("cpu")) is None, "it is said once"
    fused._tried.cache_clear()
    assert fused.kernels(torch.device("cpu")) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the kernels ran in the interpreter only")
@pytest.mark.parametrize("products", ["float32", "tf32", "tf32x3", "bf16x3"])
def test_the_same_tree_on_a_gpu(monkeypatch: pytest.MonkeyPatch, products: str) -> None:
    x = points(5, 20_000, 100).cuda()
    assert fused.kernels(x.device) is not None and near_points.list_sizes(len(x), 500, 1 << 30) is not None
    tree = tiled_spanning_tree(x, 500, 1 << 30, products)
    again = tiled_spanning_tree(x, 500, 1 << 30, products)
    monkeypatch.setattr(tiles, "kernels", lambda device: None)
    expected = tiled_spanning_tree(x, 500, 1 << 30, "float32")
    for found, repeated, right in zip(tree, again, expected, strict=True):
        np.testing.assert_array_equal(found, repeated)
        np.testing.assert_allclose(found, right, rtol=1e-12)
