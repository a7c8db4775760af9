"""Clustering with products in reduced precision: the bound on their error, and the same results to the bit.

The precisions are simulated on the CPU: parts are rounded as a tensor core reads them, and their products are exact in
float32. The order of a tensor core's sums is not simulated; the rounded sums of the tests stand for it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import small_layer

import methods
from methods.elude import core_distances, products, tiled, tiles
from methods.elude import method as method_module
from methods.elude.clustering import cluster, unit_rows
from methods.elude.products import PRECISIONS, VARIABLE, SplitRows, precision_on, to_bfloat16, to_tf32
from methods.elude.tiled import tiled_spanning_tree
from methods.elude.tiles import BoundError, Tiles, largest_error
from methods.errors import ArgumentError

NAMES = sorted(PRECISIONS)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: products were simulated only")


def contributions(seed: int, n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(5, 24, generator=generator)
    kind = torch.randint(5, (n,), generator=generator)
    hidden = parts[kind] + 0.5 * torch.randn(n, 24, generator=generator)
    q = torch.nn.functional.gelu(hidden @ torch.randn(24, d, generator=generator) / 24**0.5)
    return unit_rows(torch.randn(d, generator=generator) * q)[0]


# ---- rounding


def test_tf32_keeps_eleven_bits_and_rounds_ties_to_even() -> None:
    step = 2.0**-10
    values = torch.tensor([1.0, 1 + step, 1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.75 * step, -1 - 0.75 * step, 0.0])
    expected = torch.tensor([1.0, 1 + step, 1.0, 1 + 2 * step, 1 + step, -1 - step, 0.0])
    assert torch.equal(to_tf32(values), expected)
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert ((to_tf32(x) - x).abs() <= 2.0**-11 * x.abs()).all() and not torch.equal(to_tf32(x), x)
    assert torch.equal(to_tf32(to_tf32(x)), to_tf32(x))
    assert ((to_bfloat16(x).float() - x).abs() <= 2.0**-8 * x.abs()).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_split_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = contributions(0, 50, 64)
    whole = SplitRows(x, name)
    monkeypatch.setattr(products, "PIECE_ROWS", 7)
    pieces = SplitRows(x, name)
    assert torch.equal(whole.slack, pieces.slack)
    assert all(torch.equal(part, other) for part, other in zip(whole.parts, pieces.parts, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_parts_and_remainder_are_the_row_to_the_bit(name: str) -> None:
    x = contributions(0, 50, 64)
    parts = [part.double() for part in SplitRows(x, name).parts]
    rest = x.double() - sum(parts)
    bits = {"tf32": 11, "tf32x3": 22, "bf16x3": 16}[name]
    assert (rest.abs() <= 2.0**-bits * x.double().abs()).all()


# ---- the bound


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from([0, 1, 6]))
def test_no_distance_is_wrong_by_more_than_the_bound(name: str, seed: int, d: int, spread: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, d, generator=generator) * torch.exp(spread * torch.randn(24, 1, generator=generator))
    assert_bounded(x, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_holds_where_all_rounding_errors_have_one_sign(name: str) -> None:
    """Rows of entries just below the middle between two numbers of the format: each product errs the same way."""
    for bits in (8, 11, 16, 22):
        entry = 1.0 + 2.0**-bits - 2.0**-23
        x = torch.full((6, 3072), entry)
        x[3:] = -entry
        assert_bounded(x, name)
        assert_bounded(x / x.norm(dim=1, keepdim=True), name)


def assert_bounded(x: torch.Tensor, name: str) -> None:
    tiles = Tiles(x, 1 << 20, name)
    squares = tiles.strip(slice(None)).double()
    exact = (x.double()[:, None] - x.double()[None]).square().sum(2)
    assert ((squares - exact).abs() <= tiles.slack[:, None]).all()


def test_the_bound_is_of_the_size_of_the_error() -> None:
    """A bound that is far too wide would have every distance computed again."""
    x = contributions(1, 300, 3072)
    exact = (2.0 - 2.0 * (x.double() @ x.double().T)).clamp_min(0.0)
    for name in NAMES:
        tiles = Tiles(x, 1 << 24, name)
        worst = float((tiles.strip(slice(None)).double() - exact).abs().max())
        assert 1e-8 < worst < float(tiles.slack.max()) < 3e-3, name
    widths = [float(Tiles(x, 1 << 24, name).slack.max()) for name in ("float32", "tf32x3", "bf16x3", "tf32")]
    assert widths == sorted(widths)


# ---- the same tree, labels and probabilities


def assert_same_bits(x: torch.Tensor, k: int, memory_bytes: int, name: str) -> None:
    expected, tree = (tiled_spanning_tree(x, k, memory_bytes, products) for products in ("float32", name))
    for field, other, values in zip(expected._fields, expected, tree, strict=True):
        if field == "tied":
            # Their order is free: they enter a graph.
            other, values = (edges[:, np.lexsort(edges)] for edges in (other, values))
        np.testing.assert_array_equal(values, other, err_msg=field)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 18, 1])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_same_tree_on_contributions(name: str, memory_bytes: int, k: int) -> None:
    assert_same_bits(contributions(2, 160, 96), k, memory_bytes, name)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(2, 90),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from([1, 3000, 1 << 24]),
    st.sampled_from(["random", "grid", "duplicates", "near ties", "near duplicates"]),
)
def test_same_tree_on_any_points(name: str, seed: int, n: int, k: int, d: int, memory_bytes: int, kind: str) -> None:
    """Near ties are closer than the error of every precision; grids have more equal distances than kept neighbours."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    if kind == "grid":
        x = torch.randint(0, 3, (n, d), generator=generator).float()
    elif kind == "duplicates":
        x = x[torch.randint(0, max(1, n // 4), (n,), generator=generator)]
    elif kind == "near ties":
        x = torch.nn.functional.normalize(torch.randint(0, 3, (n, d), generator=generator) + 1e-5 * x, dim=1)
    elif kind == "near duplicates":
        x = x[torch.randint(0, max(1, n // 4), (n,), generator=generator)] + 1e-6 * x
    assert_same_bits(x, min(k, n - 1), memory_bytes, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("selection", ["leaf", "eom"])
def test_same_labels_and_probabilities(name: str, selection: str) -> None:
    x = contributions(3, 600, 256)
    x[5] = 0
    x[100:130] = x[99]
    expected = cluster(x, min_cluster_size=15, selection=selection, memory_bytes=1 << 18)
    for memory_bytes in (1 << 18, 1 << 30):
        reduced = cluster(x, min_cluster_size=15, selection=selection, memory_bytes=memory_bytes, products=name)
        assert torch.equal(reduced.labels, expected.labels) and reduced.n_clusters >= 2
        assert torch.equal(reduced.probabilities, expected.probabilities)
        assert torch.equal(reduced.persistence, expected.persistence)


def without_bound(norm: torch.Tensor, low: torch.Tensor, rest: torch.Tensor, d: int) -> torch.Tensor:
    return torch.zeros_like(norm)


def test_without_the_bound_core_distances_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the tests above would notice a bound that is too small. A tree that cannot be finished is no endless loop."""
    x = contributions(4, 400, 96)
    expected = tiled_spanning_tree(x, 12, 1 << 20, "float32")
    monkeypatch.setattr(products, "error_bound", without_bound)
    monkeypatch.setattr(tiles, "require_bound", lambda *_: None)
    core, _ = core_distances.core_squares(Tiles(x, 1 << 20, "tf32"), 12)
    assert not np.array_equal(core.sqrt().numpy(), expected.core)
    with pytest.raises(BoundError, match=r"products = 'tf32': no edge joins the remaining \d+ components"):
        tiled_spanning_tree(x, 12, 1 << 20, "tf32")


def test_a_device_whose_sums_break_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = contributions(4, 400, 96)
    assert all(0 < largest_error(Tiles(x, 1 << 20, name), 64) < 1 for name in NAMES)
    monkeypatch.setattr(products, "error_bound", without_bound)
    with pytest.raises(ArgumentError, match=r"products = 'tf32': .* times the bound.* use 'float32'"):
        cluster(x, min_cluster_size=15, products="tf32")


def test_more_entries_are_selected_if_the_band_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    rows: list[int] = []
    plain, whole = core_distances.smallest, core_distances.whole_row
    monkeypatch.setattr(
        core_distances, "smallest", lambda squares, width: widths.append(width) or plain(squares, width)
    )
    monkeypatch.setattr(core_distances, "whole_row", lambda *a: rows.append(a[2]) or whole(*a))
    # All points are nearly equally far from each other.
    x = torch.eye(400) + 1e-3 * torch.randn(400, 400, generator=torch.Generator().manual_seed(0))
    tiled_spanning_tree(x, 10, 1 << 24, "tf32")
    assert len(set(widths)) > 1 and max(widths) <= 2 * (10 + 1 + core_distances.SPARE)
    widths.clear()
    tiled_spanning_tree(contributions(5, 300, 64), 10, 1 << 24)
    assert set(widths) == {10 + 1 + core_distances.SPARE}, "float32 needs no more on such data"


def test_few_distances_are_computed_again() -> None:
    x = contributions(6, 2000, 768)
    shares = {}
    for name in ("float32", *NAMES):
        blocks = Tiles(x, 1 << 26, name)
        core_distances.core_squares(blocks, 40)
        shares[name] = blocks.n_exact / 2000**2
    assert shares["float32"] < shares["tf32x3"] <= shares["bf16x3"] < shares["tf32"] < 0.02


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"products is 'fp8'; it must be one of 'auto', 'float32', 'tf32'"):
        cluster(torch.zeros(4, 2), min_cluster_size=2, products="fp8")


def test_a_fit_with_the_variable_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer(d_out=6)
    settings = {"top_k": 120, "min_cluster_size": 15}
    # In blocks, as on a GPU: in memory the last bits of float64 distances are others.
    monkeypatch.setattr(method_module, "distance_bytes", lambda lanes: 1 << 14)
    expected = methods.create("elude", **settings).fit(tokens, site)
    assert expected.n_units > site.d_out
    for name in NAMES:
        monkeypatch.setenv(VARIABLE, name)
        fitted = methods.create("elude", **settings).fit(tokens, site)
        assert all(
            torch.equal(getattr(fitted, field).nan_to_num(-1), getattr(expected, field).nan_to_num(-1))
            for field in fitted.fitted
        )
        assert fitted.config == expected.config and name in fitted.notes[-1]
    monkeypatch.setenv(VARIABLE, "half")
    with pytest.raises(ArgumentError, match=rf"{VARIABLE} is 'half'; it must be one of 'auto', 'float32'"):
        methods.create("elude", **settings).fit(tokens, site)


def test_auto_is_tf32_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((7, 5), "float32"), ((8, 0), "tf32"), ((9, 0), "tf32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert precision_on(torch.device("cuda", 0), "auto") == expected
        assert precision_on(torch.device("cuda", 0), "float32") == "float32"
    assert precision_on(torch.device("cpu"), "auto") == "float32"
    assert precision_on(torch.device("cpu"), "bf16x3") == "bf16x3"


def test_auto_computes_in_float32_where_sums_break_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    x = contributions(4, 400, 96)
    expected = tiled_spanning_tree(x, 12, 1 << 20, "float32")
    monkeypatch.setattr(tiled, "precision_on", lambda device, name: "tf32" if name == "auto" else name)
    monkeypatch.setattr(products, "error_bound", without_bound)
    with pytest.warns(
        UserWarning, match=r"products = 'tf32': .* times the bound.* Distances are computed in float32\."
    ):
        tree = tiled_spanning_tree(x, 12, 1 << 20, "auto")
    assert all(np.array_equal(found, right) for found, right in zip(tree, expected, strict=True))
    with pytest.raises(BoundError):
        tiled_spanning_tree(x, 12, 1 << 20, "tf32")


def test_rough_distances_that_rule_out_too_little_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = tiled.point_to_component
    monkeypatch.setattr(
        tiled, "point_to_component", lambda blocks, *a: asked.append(blocks.products) or plain(blocks, *a)
    )
    # Without clusters, in few dimensions.
    x = torch.randn(600, 24, generator=torch.Generator().manual_seed(0))
    tree = tiled_spanning_tree(x, 2, 1 << 22, "tf32")
    assert asked[:2] == ["bf16", "tf32"]
    expected = tiled_spanning_tree(x, 2, 1 << 22, "float32")
    assert all(np.array_equal(found, right) for found, right in zip(tree, expected, strict=True))
    asked.clear()
    tiled_spanning_tree(contributions(1, 1500, 96), 40, 1 << 22, "tf32")
    assert asked == ["bf16"]


@pytest.mark.parametrize("error", [tiles.BoundError("too large"), torch.OutOfMemoryError("CUDA out of memory.")])
def test_blocks_are_their_own_rough_ones_if_others_fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    blocks = Tiles(contributions(4, 100, 32), 1 << 20, "tf32")
    assert blocks.rough().products == "bf16" and float(blocks.rough().slack.min()) > float(blocks.slack.max())

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(tiles, "require_bound", fail)
    assert blocks.rough() is blocks


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_on_a_gpu(name: str) -> None:
    x = contributions(8, 800, 256).cuda()
    assert_bounded(x, name)
    expected = cluster(x, min_cluster_size=15)
    reduced = cluster(x, min_cluster_size=15, products=name)
    assert torch.equal(reduced.labels, expected.labels)
    assert torch.equal(reduced.probabilities, expected.probabilities)
