"""The clustering core: closed forms, properties, a brute-force twin, then the hdbscan library itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.elude.clustering import cluster, unit_rows, zero_rows
from methods.elude.hierarchy import Selection, condense, linkage, renumber
from methods.elude.kernels import exact_square, kth_smallest
from methods.elude.spanning_tree import spanning_tree

hdbscan = pytest.importorskip("hdbscan")


def groups(seed: int, n: int, d: int, centres: int = 4, spread: float = 0.15) -> torch.Tensor:
    """n points (n, d) float32 around a few centres, a fifth of them anywhere."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, d, generator=generator)
    x = middle[torch.randint(centres, (n,), generator=generator)] + spread * torch.randn(n, d, generator=generator)
    x[: n // 5] = torch.randn(n // 5, d, generator=generator)
    return x[torch.randperm(n, generator=generator)]


def contributions(seed: int, n: int, d: int) -> torch.Tensor:
    """Contributions as a unit of a network has them: one weight vector times GELU activations, on the unit sphere."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(5, 24, generator=generator)
    mixing = torch.randn(24, d, generator=generator) / 24**0.5
    kind = torch.randint(5, (n,), generator=generator)
    hidden = (parts[kind] + 0.5 * torch.randn(n, 24, generator=generator)) @ mixing
    q = torch.nn.functional.gelu(hidden + 0.05 * torch.randn(n, d, generator=generator))
    return unit_rows(torch.randn(d, generator=generator) * q)[0]


def library(x: torch.Tensor, min_cluster_size: int, min_samples: int | None = None, selection: str = "leaf"):
    return hdbscan.HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min_samples,
        cluster_selection_method=selection,
        approx_min_span_tree=False,
    ).fit(x.numpy().astype(np.float64))


def assert_same_as_library(
    x: torch.Tensor, min_cluster_size: int, min_samples: int | None = None, selection: str = "leaf"
):
    ours = cluster(
        x, min_cluster_size=min_cluster_size, min_samples=min_samples, selection=selection, zero_is_noise=False
    )
    theirs = library(x, min_cluster_size, min_samples, selection)
    expected = renumber(Selection(theirs.labels_, theirs.probabilities_, np.asarray(theirs.cluster_persistence_)))
    np.testing.assert_array_equal(ours.labels.numpy(), expected.labels)
    np.testing.assert_allclose(ours.probabilities.numpy(), expected.probabilities, atol=2e-7)
    np.testing.assert_allclose(ours.persistence.numpy(), expected.persistence, atol=1e-6)


def dense_reachability(x: torch.Tensor, k: int) -> np.ndarray:
    """Mutual reachability (n, n) float64 by the definition, from differences."""
    points = x.numpy().astype(np.float64)
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    core = np.sort(distance, axis=1)[:, k]
    return np.maximum(distance, np.maximum(core[:, None], core[None]))


def brute_force_tree(x: torch.Tensor, k: int) -> tuple[np.ndarray, float]:
    """Kruskal's algorithm over all pairs: the ascending weights of a minimum spanning tree, and their sum."""
    reach = dense_reachability(x, k)
    low, high = np.triu_indices(len(x), 1)
    parent = list(range(len(x)))

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    weights = []
    for e in np.argsort(reach[low, high], kind="stable"):
        a, b = find(int(low[e])), find(int(high[e]))
        if a != b:
            parent[b] = a
            weights.append(reach[low[e], high[e]])
    return np.array(weights), float(np.sum(weights))


def assert_spans(tree, n: int) -> None:
    parent = list(range(n))

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in zip(tree.low.tolist(), tree.high.tolist(), strict=True):
        assert a < b and find(a) != find(b)
        parent[find(b)] = find(a)
    assert len(tree.low) == n - 1


# Closed forms


def test_core_distance_counts_other_points():
    # On 0, 1, 3, 7 the nearest *other* point is 1, 1, 2 and 4 away; counting the point itself, all would be 0.
    tree = spanning_tree(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 1)
    np.testing.assert_array_equal(tree.core, [1, 1, 2, 4])
    np.testing.assert_array_equal(tree.weight, [1, 2, 4])
    np.testing.assert_array_equal(spanning_tree(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 2).core, [3, 2, 3, 6])


def test_two_groups_on_a_line():
    x = torch.cat([torch.arange(5.0), 100 + torch.arange(7.0)])[:, None]
    found = cluster(x, min_cluster_size=3, min_samples=1, selection="eom", zero_is_noise=False)
    assert found.labels.tolist() == [1] * 5 + [0] * 7
    assert found.probabilities.tolist() == [1.0] * 12
    assert (found.n_clusters, found.n_noise) == (2, 0)


def test_equal_points_are_at_distance_zero_exactly():
    x = torch.nn.functional.normalize(torch.randn(40, 300, generator=torch.Generator().manual_seed(0)), dim=1)
    tree = spanning_tree(torch.cat([x, x, x]), 2)
    assert (tree.core == 0).all()
    assert (tree.weight == 0).sum() == 80


def test_near_duplicates_keep_their_distance():
    # In float32, 2 - 2 cos of these pairs is rounding alone: about 1e-7 for a squared distance of 1e-10.
    x = torch.nn.functional.normalize(torch.randn(60, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    x = torch.cat([x, x + 1e-5 * torch.nn.functional.normalize(x.roll(1, 1), dim=1)])
    expected = brute_force_tree(x, 1)[0]
    np.testing.assert_allclose(spanning_tree(x, 1).weight, expected, rtol=1e-12)


def test_a_point_far_from_the_origin_is_no_harder():
    x = groups(3, 200, 5)
    near, far = spanning_tree(x, 5), spanning_tree((x.double() + 1000).float(), 5)
    np.testing.assert_allclose(near.weight, far.weight, atol=1e-3)
    expected = brute_force_tree((x.double() + 1000).float(), 5)[0]
    np.testing.assert_allclose(far.weight, expected, rtol=1e-12)


def test_clusters_are_numbered_by_size_then_by_smallest_member():
    found = renumber(Selection(np.array([2, 2, 0, 0, 1, 1, 1, -1]), np.ones(8), np.array([0.1, 0.2, 0.3])))
    assert found.labels.tolist() == [1, 1, 2, 2, 0, 0, 0, -1]
    assert found.persistence.tolist() == [0.2, 0.3, 0.1]


def test_unit_rows_keeps_zero_rows_and_survives_extremes():
    rows, zero = unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-30, 4e-30], [3e30, 4e30]]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8], [0.6, 0.8]]))
    assert zero.tolist() == [False, True, False, False]


def test_kth_smallest_is_sortings():
    values = np.array([5, 1, 4, 1, 3, 9, 2], np.float64)
    assert [kth_smallest(values.copy(), 7, k) for k in range(7)] == sorted(values)


# Properties


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(1, 20), st.integers(1, 8))
def test_tree_is_the_brute_force_tree(seed, n, d, k):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    if seed % 3 == 0:  # a coarse grid: duplicates and ties everywhere
        x = (2 * x).round()
    k = min(k, n - 1)
    tree = spanning_tree(x, k)
    assert_spans(tree, n)
    reach = dense_reachability(x, k)
    np.testing.assert_allclose(tree.weight, reach[tree.low, tree.high], rtol=1e-12)
    np.testing.assert_allclose(tree.weight, brute_force_tree(x, k)[0], rtol=1e-12, atol=1e-30)
    order = np.lexsort((tree.high, tree.low, tree.weight))
    assert (order == np.arange(n - 1)).all()


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6), st.integers(12, 80), st.integers(1, 6), st.integers(2, 8), st.sampled_from(["leaf", "eom"])
)
def test_labels_are_the_librarys_on_random_points(seed, n, d, size, selection):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    # Below 60 dimensions the library takes another path whose ties are its own: compare what ties cannot change.
    ours = cluster(x, min_cluster_size=size, selection=selection)
    theirs = hdbscan.HDBSCAN(min_cluster_size=size, cluster_selection_method=selection, algorithm="prims_kdtree").fit(
        x.numpy().astype(np.float64)
    )
    expected = renumber(Selection(theirs.labels_, theirs.probabilities_, np.asarray(theirs.cluster_persistence_)))
    np.testing.assert_array_equal(ours.labels.numpy(), expected.labels)
    np.testing.assert_allclose(ours.probabilities.numpy(), expected.probabilities, atol=2e-7)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(20, 100))
def test_labels_follow_a_scaling_of_the_points(seed, n):
    x = groups(seed, n, 6)
    # A power of two scales without rounding, so nothing at all may change, down to where squares leave float32.
    base = cluster(x, min_cluster_size=4)
    for exponent in (-60, -3, 3, 60):
        scaled = cluster(x * 2.0**exponent, min_cluster_size=4)
        assert torch.equal(base.labels, scaled.labels)
        torch.testing.assert_close(base.probabilities, scaled.probabilities, atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(10, 60), st.integers(0, 10))
def test_zero_rows_are_noise_and_change_nothing_else(seed, n, zeros):
    x = groups(seed, n, 70)
    at = torch.randperm(n + zeros, generator=torch.Generator().manual_seed(seed))
    mixed = torch.cat([x, torch.zeros(zeros, 70)])[at]
    alone = cluster(mixed[at < n], min_cluster_size=4)
    found = cluster(mixed, min_cluster_size=4)
    assert (found.labels[at >= n] == -1).all() and (found.probabilities[at >= n] == 0).all()
    assert torch.equal(found.labels[at < n], alone.labels)


def test_condensed_tree_is_hdbscans_row_for_row():
    from hdbscan._hdbscan_tree import condense_tree

    for seed, n, size in ((0, 2, 2), (1, 40, 3), (2, 300, 2), (3, 300, 12), (4, 500, 400)):
        hierarchy = linkage(spanning_tree(groups(seed, n, 3), min(size, n - 1)))
        ours, theirs = condense(hierarchy, size), condense_tree(hierarchy, size)
        assert ours.dtype == theirs.dtype
        assert (ours == theirs).all()


def test_condensed_trees_with_equal_distances_too():
    from hdbscan._hdbscan_tree import condense_tree

    for seed in range(40):
        generator = np.random.default_rng(seed)
        n, size = int(generator.integers(2, 200)), int(generator.integers(2, 30))
        x = np.round(generator.normal(size=(n, 3)) + 4 * generator.integers(0, 3, (n, 1)))
        hierarchy = linkage(spanning_tree(torch.from_numpy(x).float(), min(size, n - 1)))
        ours, theirs = condense(hierarchy, size), condense_tree(hierarchy, size)
        assert len(ours) == len(theirs) and (ours == theirs).all()


def test_exact_square_is_symmetric_to_the_bit():
    x = np.random.default_rng(0).normal(size=(30, 101)).astype(np.float32)
    for i in range(30):
        assert exact_square(x, i, i) == 0
        assert all(exact_square(x, i, j) == exact_square(x, j, i) for j in range(i))


# The library


@pytest.mark.parametrize("selection", ["leaf", "eom"])
@pytest.mark.parametrize("min_samples", [None, 1, 5, 40])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_library_on_contributions(seed, min_samples, selection):
    assert_same_as_library(contributions(seed, 500, 192), 15, min_samples, selection)


def test_equal_to_the_library_at_the_demo_size():
    assert_same_as_library(contributions(7, 1500, 384), 40)


@pytest.mark.parametrize("selection", ["leaf", "eom"])
def test_equal_to_the_library_with_duplicates(selection):
    x = contributions(1, 150, 100)
    assert_same_as_library(torch.cat([x, x[:70], x[20:40]]), 8, None, selection)


def test_equal_to_the_library_with_few_points():
    for n in (2, 3, 5, 9):
        x = contributions(2, n, 70)
        assert (cluster(x, min_cluster_size=5).labels == -1).all() or n >= 5
        assert_same_as_library(x, 5)
        assert_same_as_library(x, 2, 50)  # more neighbours than points: clipped to n - 1


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_equal_to_the_library_in_one_dimension(shift):
    generator = torch.Generator().manual_seed(5)
    x = torch.cat([torch.randn(80, generator=generator), 9 + torch.randn(60, generator=generator)])[:, None] + shift
    ours = cluster(x, min_cluster_size=10, selection="eom")
    # In one dimension the library grows its tree by Boruvka's algorithm over a kd-tree; no ties here, so no difference.
    theirs = library(x, 10, None, "eom")
    expected = renumber(Selection(theirs.labels_, theirs.probabilities_, np.asarray(theirs.cluster_persistence_)))
    np.testing.assert_array_equal(ours.labels.numpy(), expected.labels)


def test_selection_epsilon_is_the_librarys():
    x = contributions(4, 400, 96)
    ours = cluster(x, min_cluster_size=8, cluster_selection_epsilon=0.8)
    theirs = hdbscan.HDBSCAN(min_cluster_size=8, cluster_selection_method="leaf", cluster_selection_epsilon=0.8).fit(
        x.numpy().astype(np.float64)
    )
    expected = renumber(Selection(theirs.labels_, theirs.probabilities_, np.asarray(theirs.cluster_persistence_)))
    np.testing.assert_array_equal(ours.labels.numpy(), expected.labels)
    assert ours.n_clusters != cluster(x, min_cluster_size=8).n_clusters


def test_hdbscan_backend_agrees():
    x = contributions(5, 300, 96)
    x[17] = 0
    ours, theirs = (cluster(x, min_cluster_size=10, backend=name) for name in ("exact", "hdbscan"))
    assert torch.equal(ours.labels, theirs.labels) and ours.labels[17] == -1
    torch.testing.assert_close(ours.probabilities, theirs.probabilities, atol=2e-7, rtol=0)
    assert (ours.backend, theirs.backend, ours.min_samples) == ("exact", "hdbscan", 10)


def test_by_default_no_distance_is_too_small_for_two_clusters():
    """Four groups of four points; two and two of them are 1/2 apart, and the pairs are 10 apart."""
    group = torch.arange(4.0) / 100
    x = torch.cat([start + group for start in (0.0, 0.5, 10.0, 10.5)])[:, None] + 1
    assert cluster(x, min_cluster_size=3).n_clusters == 4
    assert cluster(x, min_cluster_size=3, cluster_selection_epsilon=1.0).n_clusters == 2
    x = 1 + (x - 1) / 1000
    assert cluster(x, min_cluster_size=3).n_clusters == 4


# Determinism


def test_same_bits_again_and_on_any_number_of_threads():
    x = contributions(6, 1100, 128)
    first, threads = cluster(x, min_cluster_size=20), torch.get_num_threads()
    try:
        for count in (threads, 1, 3):
            torch.set_num_threads(count)
            again = cluster(x, min_cluster_size=20)
            assert torch.equal(first.labels, again.labels)
            assert torch.equal(first.probabilities, again.probabilities)
    finally:
        torch.set_num_threads(threads)


def test_portable_ties_move_border_points_only():
    x = contributions(6, 600, 128)
    usual, portable = cluster(x, min_cluster_size=12), cluster(x, min_cluster_size=12, portable_ties=True)
    tree = spanning_tree(x, 12)
    np.testing.assert_array_equal(linkage(tree)[:, 2], linkage(tree, portable_ties=True)[:, 2])
    assert abs(usual.n_noise - portable.n_noise) <= 60


def test_input_is_left_alone_and_numpy_and_float64_are_taken():
    x = contributions(8, 200, 64)
    before = x.clone()
    base = cluster(x, min_cluster_size=8)
    assert torch.equal(x, before)
    assert torch.equal(cluster(x.numpy(), min_cluster_size=8).labels, base.labels)
    assert torch.equal(cluster(x.double(), min_cluster_size=8).labels, base.labels)
    strided = torch.stack([x, x], 2)[:, :, 0]
    assert torch.equal(cluster(strided, min_cluster_size=8).labels, base.labels)
    assert (base.labels.dtype, base.probabilities.dtype) == (torch.int64, torch.float32)


def test_nothing_and_one_point():
    for n in (0, 1):
        found = cluster(torch.ones(n, 3), min_cluster_size=2)
        assert found.labels.tolist() == [-1] * n and found.n_clusters == 0
    assert cluster(torch.zeros(5, 3), min_cluster_size=2).labels.tolist() == [-1] * 5


def test_tiny_entries_are_not_zero():
    assert zero_rows(torch.tensor([[0.0, 1e-30], [0.0, 0.0], [1.0, 0.0]])).tolist() == [False, True, False]


# Errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_cluster_size": 1}, "min_cluster_size is 1"),
        ({"min_cluster_size": 2.5}, "min_cluster_size is 2.5"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"selection": "leaves"}, "'leaves'; it must be one of 'leaf', 'eom'"),
        ({"backend": "sklearn"}, "'sklearn'; it must be one of 'exact', 'hdbscan', 'cuml'"),
        ({"cluster_selection_epsilon": -1.0}, "cluster_selection_epsilon is -1.0"),
        ({"cluster_selection_epsilon": math.nan}, "cluster_selection_epsilon is nan"),
        ({"memory_bytes": 0}, "memory_bytes is 0"),
    ],
)
def test_options_out_of_range_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        cluster(torch.ones(4, 2), **({"min_cluster_size": 2} | change))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.ones(4), "shape"),
        (torch.ones(4, 0), "shape"),
        (torch.tensor([[1.0], [math.nan]]), "Row 1 of x is not"),
        (torch.tensor([[1.0], [2.0], [-math.inf]]), "Row 2 of x is not"),
        (torch.tensor([[math.inf], [2.0], [1.0]]), "Row 0 of x is not"),
        (torch.tensor([[1.0, 2.0], [3.0, math.inf]]), "Row 1 of x is not"),
        (torch.ones(4, 2, dtype=torch.bool), "dtype"),
    ],
)
def test_bad_points_are_refused(x, words):
    with pytest.raises(ValueError, match=words):
        cluster(x, min_cluster_size=2)


def test_missing_cuml_names_the_extra():
    try:
        import cuml  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="extra 'cuml'"):
            cluster(torch.ones(4, 2), min_cluster_size=2, backend="cuml")
    else:
        pytest.skip("cuml is installed here: the message for its absence cannot be seen")
