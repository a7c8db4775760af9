"""Moran's I: closed forms, PySAL's values, exact moments of the null, and the streamed metric."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness import metrics
from harness.activations.unit_statistics import UnitStatistics
from harness.errors import ArgumentError
from harness.metrics import morans_i
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.morans_i import CRITICAL, MapSums, MoransI, permutation_null

# Made with esda 2.9.0 and libpysal 4.14.1 (PySAL) in an environment of its own:
#   w = libpysal.weights.lat2W(h, w, rook=True)
#   m = esda.Moran(x.ravel(), w, transformation="B", permutations=0)
#   (m.I, m.EI, m.VI_rand)
# for the maps of `pysal_map(h, w, seed)`.
PYSAL = {
    (3, 3, 0): (-0.03111111111111111, -0.125, 0.05733456790123456),
    (4, 6, 1): (0.033705839942321555, -0.043478260869565216, 0.023318609452523793),
    (5, 5, 2): (0.15199280344701138, -0.041666666666666664, 0.02213568726326198),
    (2, 7, 3): (-0.1070506171704876, -0.07692307692307693, 0.04461160587734244),
    (16, 16, 4): (-0.06028815796589601, -0.00392156862745098, 0.0020613207903437576),
}
# The same for an 8 x 8 map that is 1 in rows 2 to 4 and columns 3 to 5, and one that is 3 in a corner; 0 elsewhere.
PYSAL_SQUARE = (0.6761904761904762, -0.015873015873015872, 0.008069356553583665)
PYSAL_CORNER = (-0.0022675736961451243, -0.015873015873015872, 3.085134280469466e-05)


def pysal_map(height: int, width: int, seed: int) -> Tensor:
    """Return the (h, w) map that the numbers of PySAL are of."""
    return torch.tensor(
        [
            [(7 * i * i + 3 * j + 5 * i * j + seed) % 11 - 4 + 0.25 * ((i + 2 * j) % 3) for j in range(width)]
            for i in range(height)
        ],
        dtype=torch.float64,
    )


def kurtosis(x: Tensor) -> Tensor:
    d = x.double() - x.double().mean()
    return len(x) * (d**4).sum() / (d**2).sum() ** 2


def by_definition(x: np.ndarray) -> float:
    """Moran's I of a map (h, w) with the matrix of weights written out."""
    h, w = x.shape
    cells = [(i, j) for i in range(h) for j in range(w)]
    weights = np.array([[abs(a - c) + abs(b - d) == 1 for c, d in cells] for a, b in cells], dtype=float)
    deviation = x.ravel() - x.mean()
    return float(x.size / weights.sum() * deviation @ weights @ deviation / (deviation @ deviation))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestFunction:
    @pytest.mark.parametrize("case", list(PYSAL))
    def test_equals_pysal(self, case: tuple[int, int, int]) -> None:
        x = pysal_map(*case)
        value, mean, variance = PYSAL[case]
        assert float(morans_i(x[None])[0]) == pytest.approx(value, abs=1e-12)
        null = permutation_null(*case[:2], kurtosis(x.flatten()))
        assert (null.mean, float(null.variance)) == pytest.approx((mean, variance), abs=1e-12)

    def test_equals_pysal_on_sparse_maps(self) -> None:
        square, corner = torch.zeros(2, 8, 8)
        square[2:5, 3:6] = 1
        corner[0, 0] = 3
        for x, (value, mean, variance) in ((square, PYSAL_SQUARE), (corner, PYSAL_CORNER)):
            null = permutation_null(8, 8, kurtosis(x.flatten()))
            assert float(morans_i(x[None])) == pytest.approx(value, abs=1e-12)
            assert (null.mean, float(null.variance)) == pytest.approx((mean, variance), abs=1e-12)

    def test_closed_forms(self) -> None:
        rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
        chessboard, halves = (rows + columns) % 2, (columns < 3).long()
        # Of the 60 pairs of neighbours, 6 cross the border between the halves.
        assert morans_i(torch.stack([chessboard, halves])).tolist() == pytest.approx([-1, (54 - 6) / 60])
        # Of the 40 pairs, 4 include the single cell.
        spike = torch.zeros(5, 5)
        spike[2, 2] = 7
        n, pairs, m = 25, 40, 1 / 25
        expected = n / pairs * (4 * (1 - m) * -m + (pairs - 4) * m * m) / (1 - m)
        assert float(morans_i(spike[None])) == pytest.approx(expected)
        # Two cells are always opposite: I = 2 / 2 * (-1).
        assert morans_i(torch.tensor([[[1.0, 5.0]], [[2.0, -3.0]]])).tolist() == [-1, -1]

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
    def test_is_the_definition(self, height: int, width: int, seed: int) -> None:
        x = drawn(3, height, width, seed=seed).round(decimals=1).double()
        values = morans_i(x)
        for one, value in zip(x.numpy(), values.tolist(), strict=True):
            expected = math.nan if one.size < 2 or np.ptp(one) == 0 else by_definition(one)
            assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)

    @pytest.mark.parametrize("scale", [1e-300, 1e-8, -3.0, 1e200])
    def test_scale_and_offset_do_not_matter(self, scale: float) -> None:
        x = drawn(4, 5, 5).double()
        assert morans_i(scale * x).tolist() == pytest.approx(morans_i(x).tolist(), abs=1e-9)
        assert morans_i(x + 1e6).tolist() == pytest.approx(morans_i(x).tolist(), abs=1e-6)

    def test_constant_maps_and_single_cells_are_undefined(self) -> None:
        constant = torch.full((2, 4, 4), 0.1, dtype=torch.float64)
        constant[1] = 0
        for codes in (constant, torch.ones(3, 1, 1), torch.ones(2, 0, 4), torch.ones(2, 1, 0)):
            values = morans_i(codes)
            assert values.shape == (len(codes),) and values.dtype == torch.float64 and values.isnan().all()
        assert morans_i(torch.ones(0, 4, 4)).shape == (0,)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
    def test_takes_any_real_dtype(self, dtype: torch.dtype) -> None:
        x = (drawn(2, 4, 4) > 0).to(dtype)
        assert morans_i(x).tolist() == morans_i(x.double()).tolist()

    def test_wrong_inputs_are_one_sentence(self) -> None:
        with pytest.raises(ArgumentError, match=r"codes \(4, 4\) must have the shape \(n, h, w\)"):
            morans_i(torch.ones(4, 4))
        with pytest.raises(ArgumentError, match=r"morans_i: codes\[1, 2, 0\] is nan"):
            codes = torch.ones(2, 3, 3)
            codes[1, 2, 0] = math.nan
            morans_i(codes)
        with pytest.raises(ArgumentError, match="codes is a list"):
            morans_i([[1.0]])  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="complex"):
            morans_i(torch.ones(1, 2, 2, dtype=torch.complex64))

    def test_is_public(self) -> None:
        assert metrics.morans_i is morans_i and "morans_i" in metrics.__all__


class TestNull:
    @pytest.mark.parametrize("shape", [(2, 4), (4, 2), (1, 8), (2, 2)])
    def test_moments_are_those_of_all_permutations(self, shape: tuple[int, int]) -> None:
        """At most 8! = 40320 permutations, each once."""
        x = torch.tensor([3.0, -1.0, 0.0, 0.0, 2.5, 9.0, 1.0, 0.0])[: math.prod(shape)]
        orders = torch.tensor(list(itertools.permutations(range(len(x)))))
        values = morans_i(x[orders].reshape(-1, *shape))
        null = permutation_null(*shape, kurtosis(x))
        assert float(values.mean()) == pytest.approx(null.mean, abs=1e-12)
        assert float(values.var(correction=0)) == pytest.approx(float(null.variance), abs=1e-12)

    def test_random_order_is_above_the_critical_value_in_about_one_map_of_twenty(self) -> None:
        generator = torch.Generator().manual_seed(0)
        codes = torch.rand(400, 256, 20, generator=generator).relu()
        sums = MapSums(16)
        sums.update(codes)
        maps = sums.compute()
        assert float(maps.above.mean()) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 8000))
        assert abs(float(maps.z.mean())) < 4 / math.sqrt(8000)
        assert float(maps.i.mean()) == pytest.approx(-1 / 255, abs=4 * 0.044 / math.sqrt(8000))


class Measured(NamedTuple):
    scores: dict[str, Score]
    column: np.ndarray


def stage(n_tokens: int, n_prefix: int) -> Any:
    positions = torch.arange(n_tokens) - n_prefix
    site = SimpleNamespace(positions=lambda count: positions)
    return SimpleNamespace(n_tokens=n_tokens, passes=SimpleNamespace(site=site))


def measure(
    codes: Tensor, a: Tensor | None = None, *, n_prefix: int = 1, batch: int = 4, parents: Tensor | None = None
) -> Measured:
    """Scores for codes (n, T, units) and outputs (n, T, d), default: the codes; the first tokens are CLS, registers."""
    a = codes if a is None else a
    baseline = stage(codes.shape[1], n_prefix)
    method: Any = SimpleNamespace(parents=parents)
    assert MoransI.applies(method, baseline)
    metric, units, empty = MoransI(baseline), UnitStatistics(codes.shape[-1], 2), torch.zeros(0)
    for index in torch.split(torch.arange(len(codes)), batch):
        peaks = units.update(codes[index], index)
        metric.update(Batch(index, index, a[index], a[index], codes[index], empty, empty, *peaks))
    outcome = Outcome(method, units, baseline, a.shape[-1])
    scores = {score.metric: score for score in metric.compute(outcome)}
    return Measured(scores, outcome.unit_columns["morans_i"])


class TestMetric:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 9), st.integers(2, 4), st.integers(0, 2), st.integers(1, 5), st.integers(0, 10**6))
    def test_is_the_mean_over_active_images(self, n: int, side: int, n_prefix: int, batch: int, seed: int) -> None:
        codes = drawn(n, side * side + n_prefix, 5, seed=seed).sub(1)
        codes[..., 1:3] = codes[..., 1:3].round()
        codes[..., 3:] = codes[..., 3:].relu()  # constant and inactive maps occur
        measured = measure(codes, n_prefix=n_prefix, batch=batch)
        maps = codes[:, n_prefix:].double().reshape(n, side, side, 5)
        count, expected, shares, means = 0, [], [], []
        for unit in range(5):
            used = [one for one in maps[..., unit].numpy() if one.max() > 0 and np.ptp(one) > 0]
            count += len(used)
            values = [by_definition(one) for one in used]
            nulls = [permutation_null(side, side, kurtosis(torch.from_numpy(one).flatten())) for one in used]
            z = [
                (value - null.mean) / math.sqrt(null.variance)
                for value, null in zip(values, nulls, strict=True)
                if null.variance > 1e-9
            ]
            expected.append(np.mean(values) if values else math.nan)
            if z:
                shares.append(np.mean(np.array(z) > CRITICAL))
                means.append(np.mean(z))
        assert measured.column == pytest.approx(expected, abs=1e-9, nan_ok=True)
        score = measured.scores["morans_i"]
        assert score.details is not None and score.details["maps"] == count
        assert score.n == np.isfinite(expected).sum()
        above = measured.scores["morans_i_above_null"]
        assert above.value == pytest.approx(np.mean(shares) if shares else math.nan, nan_ok=True)
        assert above.details is not None
        assert above.details["z"] == (pytest.approx(np.mean(means), abs=1e-6) if means else None)

    def test_the_batch_size_does_not_matter(self) -> None:
        codes = drawn(13, 17, 40).relu()
        values = [measure(codes, batch=batch) for batch in (1, 5, 13)]
        for other in values[1:]:
            np.testing.assert_allclose(other.column, values[0].column, rtol=1e-12)
            for name, score in values[0].scores.items():
                assert other.scores[name].value == pytest.approx(score.value, rel=1e-12)

    def test_cls_and_registers_do_not_count(self) -> None:
        codes = drawn(6, 18, 4)
        changed = codes.clone()
        changed[:, :2] = 100 * drawn(6, 2, 4, seed=1)
        assert measure(codes, n_prefix=2).column.tolist() == measure(changed, n_prefix=2).column.tolist()

    def test_dead_constant_and_cls_units_are_undefined_and_counted(self) -> None:
        """Unit 0 varies; unit 1 is dead; unit 2 fires at CLS only; unit 3 is the same everywhere; 4 is negative."""
        codes = torch.zeros(5, 17, 5)
        codes[..., 0] = drawn(5, 17)
        codes[..., 1] = 0
        codes[:, 0, 2] = 1
        codes[..., 3] = 0.1
        codes[..., 4] = -1 - drawn(5, 17).abs()
        scores, column = measure(codes)
        assert np.isfinite(column).tolist() == [True, False, False, False, False]
        assert scores["morans_i"].n == 1 and scores["morans_i"].value == pytest.approx(column[0])
        undefined = scores["morans_i_undefined"]
        assert (undefined.value, undefined.n, undefined.unit) == (2, 3, "units")
        assert scores["morans_i_above_null"].n == 1

    def test_no_active_unit_is_nan_with_no_error(self) -> None:
        for codes in (torch.zeros(3, 17, 2), torch.ones(1, 17, 2)):
            scores, column = measure(codes)
            assert np.isnan(column).all() and math.isnan(scores["morans_i"].value)
            assert scores["morans_i"].uncertainty is None and scores["morans_i_outputs"].uncertainty is None
            assert math.isnan(scores["morans_i_above_null"].value) and scores["morans_i_above_null"].n == 0
            assert scores["morans_i"].details == {"null": -1 / 15, "maps": 0, "active_patches": None}

    def test_the_reference_level_is_that_of_the_neurons(self) -> None:
        codes, a = drawn(7, 17, 3), drawn(7, 17, 12, seed=1)
        same, other = measure(a), measure(codes, a)
        assert same.scores["morans_i_outputs"].value == pytest.approx(same.scores["morans_i"].value)
        assert same.scores["morans_i_outputs"].uncertainty == pytest.approx(same.scores["morans_i"].uncertainty)
        assert other.scores["morans_i_outputs"].value == pytest.approx(same.scores["morans_i"].value)
        assert other.scores["morans_i"].value == pytest.approx(measure(codes).scores["morans_i"].value)

    def test_smooth_maps_are_above_random_ones(self) -> None:
        """Units 0 to 9 respond to a quarter of the grid, units 10 to 19 to as many patches in random order."""
        generator = torch.Generator().manual_seed(0)
        quarter = torch.zeros(8, 8)
        quarter[:4, :4] = 1
        smooth = quarter.flatten()[None, :, None] * (0.5 + torch.rand(30, 64, 10, generator=generator))
        order = torch.rand(30, 64, generator=generator).argsort(1)
        shuffled = smooth.gather(1, order[..., None].expand(-1, -1, 10))
        codes = torch.cat([smooth, shuffled], -1)
        column = measure(codes, n_prefix=0).column
        assert column[:10].min() > 0.6 and abs(column[10:].mean() + 1 / 63) < 0.03
        planted, random = (measure(part, n_prefix=0).scores for part in (smooth, shuffled))
        assert planted["morans_i_above_null"].value == 1 and random["morans_i_above_null"].value < 0.12

    def test_it_rises_with_density(self) -> None:
        """One smooth field, cut at higher and higher levels: the reason why it has no direction."""
        field = torch.nn.functional.avg_pool2d(drawn(40, 1, 22, 22), 7, stride=1)[:, 0]
        values = []
        for quantile in (0.2, 0.5, 0.9, 0.98):
            cut = (field - field.flatten(1).quantile(quantile, 1)[:, None, None]).relu()
            values.append(measure(cut.flatten(1)[..., None], n_prefix=0).scores["morans_i"].value)
        assert values == sorted(values, reverse=True) and values[0] > values[-1] + 0.2
        assert MoransI.direction == "none"

    def test_errors_are_clustered_by_parent(self) -> None:
        codes = drawn(9, 17, 6)
        single, clustered = (measure(codes, parents=parents).scores for parents in (None, torch.arange(6) // 2))
        for name in ("morans_i", "morans_i_above_null"):
            assert (single[name].uncertainty_kind, clustered[name].uncertainty_kind) == (
                "units",
                "units, clustered by parent",
            )
            assert single[name].value == clustered[name].value

    @pytest.mark.parametrize(("n_tokens", "n_prefix"), [(1, 0), (3, 3), (2, 1), (1, 1), (8, 1)])
    def test_layers_without_a_grid_are_left_out(self, n_tokens: int, n_prefix: int) -> None:
        method: Any = SimpleNamespace()
        assert not MoransI.applies(method, stage(n_tokens, n_prefix))
        assert MoransI.applies(method, stage(5, 1)) and MoransI.applies(method, stage(4, 0))

    def test_memory_is_one_row_per_unit_and_statistic(self) -> None:
        sums = MapSums(4)
        for _ in range(3):
            sums.update(drawn(5, 16, 7))
        assert sums.sums.shape == (6, 7) and int(sums.sums[0, 0]) == 15

    def test_it_is_opt_in(self) -> None:
        assert not MoransI.default and not MoransI.needs_network


def test_queen_contiguity_gives_the_values_of_visaebench() -> None:
    """Printed by visaebench 0.1.0 (M1): _compute_morans_i_batch with _build_weight_matrix(5, 7)."""
    maps = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    measured = morans_i(maps, contiguity="queen").tolist()
    assert measured == pytest.approx([0.0618906915, 0.0223514643, -0.0297293711], abs=1e-6)
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[None]
    # Four sides of which all differ, and two diagonals that are equal.
    assert morans_i(board, contiguity="queen").item() == pytest.approx((2 - 4) / 6)
    assert morans_i(board).item() == pytest.approx(-1)
    with pytest.raises(ArgumentError, match="contiguity = 'king'"):
        morans_i(board, contiguity="king")
