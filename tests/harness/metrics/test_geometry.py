"""Dictionary geometry and stability: closed-form points and brute-force twins."""

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

from harness.errors import UserError
from harness.metrics import effective_rank, matched_cosine, matched_cosine_by_parent, max_collinearity, unit_overlap
from harness.metrics.base import Metric, Score
from harness.metrics.dictionary import writing_directions
from harness.metrics.effective_rank import EffectiveRank
from harness.metrics.max_collinearity import QUANTILES, MaxCollinearity, nearest_cosines, quantiles
from harness.metrics.unit_overlap import UnitOverlap, nearest_overlaps
from methods.base import Dictionary


def random(k: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(k, d, generator=torch.Generator().manual_seed(seed))


class TestMatchedCosine:
    def test_a_permuted_dictionary_has_1(self) -> None:
        d = random(40, 12)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        assert matched_cosine(d, d[order]) == pytest.approx(1)

    def test_a_rescaled_dictionary_has_1(self) -> None:
        scale = torch.rand(40, 1, generator=torch.Generator().manual_seed(1)).add(0.1)
        assert matched_cosine(random(40, 12), random(40, 12) * scale) == pytest.approx(1)

    def test_a_sign_flipped_dictionary_is_negative(self) -> None:
        # Atoms in one cone: each one's opposite is at an angle above 90 degrees to all of them.
        cone = torch.ones(12) + 0.1 * random(40, 12)
        cosines = torch.nn.functional.cosine_similarity(cone[:, None], cone[None], dim=2)
        assert float(cosines.min()) > 0.5
        assert -1 < matched_cosine(cone, -cone) < -0.5
        assert matched_cosine(cone[:1], -cone[:1]) == pytest.approx(-1)
        assert matched_cosine(torch.eye(5), -torch.eye(5)) == pytest.approx(0)  # e_i is orthogonal to -e_j

    def test_dead_atoms_are_left_out(self) -> None:
        d = random(6, 4)
        padded = torch.cat([d, torch.zeros(3, 4)])
        assert matched_cosine(padded, d) == pytest.approx(1)
        assert math.isnan(matched_cosine(torch.zeros(2, 4), d))

    def test_with_full_every_atom_counts(self) -> None:
        d = random(6, 4)
        padded = torch.cat([d, torch.zeros(3, 4)])
        assert matched_cosine(padded, padded.flip(0), full=True) == pytest.approx(6 / 9)
        assert matched_cosine(padded, d, full=True) == pytest.approx(1 - 3 / 9)
        assert matched_cosine(d[:2], d, full=True) == pytest.approx(1 - 4 / 6)
        # A zero is a better partner than an opposite.
        assert matched_cosine(torch.eye(2), -torch.eye(2) * torch.tensor([[1.0], [0]]), full=True) == pytest.approx(0)
        assert math.isnan(matched_cosine(torch.zeros(2, 4), d, full=True))
        assert math.isnan(matched_cosine(d[:0], d, full=True))

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 10**6))
    def test_full_is_the_best_assignment_minus_the_share_of_the_surplus(
        self, k1: int, k2: int, zeros: int, seed: int
    ) -> None:
        """Every permutation of the smaller dictionary among the larger, zeros with cosine 0 (App. B.3)."""
        d1, d2 = random(k1, 3, seed), random(k2, 3, seed + 1)
        d1[1 : 1 + zeros] = 0
        cosines = torch.nn.functional.cosine_similarity(d1[:, None].double(), d2[None].double(), dim=2)
        if k1 > k2:
            cosines = cosines.T
        small, large = cosines.shape
        best = max(
            sum(float(cosines[i, j]) for i, j in enumerate(chosen)) / small
            for chosen in itertools.permutations(range(large), small)
        )
        expected = best - (large - small) / large
        assert matched_cosine(d1, d2, full=True) == pytest.approx(expected, abs=1e-9)
        if zeros == 0 and k1 == k2:
            assert matched_cosine(d1, d2, full=True) == matched_cosine(d1, d2)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
    def test_is_the_best_assignment(self, k1: int, k2: int, seed: int) -> None:
        d1, d2 = random(k1, 3, seed), random(k2, 3, seed + 1)
        cosines = torch.nn.functional.cosine_similarity(d1[:, None].double(), d2[None].double(), dim=2)
        if k1 > k2:
            cosines = cosines.T
        small = min(k1, k2)
        best = max(
            sum(float(cosines[i, j]) for i, j in enumerate(chosen)) / small
            for chosen in itertools.permutations(range(cosines.shape[1]), small)
        )
        assert matched_cosine(d1, d2) == pytest.approx(best, abs=1e-9)

    @pytest.mark.slow
    def test_a_random_pair_of_6144_atoms_of_768_has_about_130_thousandths(self) -> None:
        assert matched_cosine(random(6144, 768, 1), random(6144, 768, 2)) == pytest.approx(0.130, abs=0.002)

    def test_bad_dictionaries_are_named(self) -> None:
        with pytest.raises(UserError, match="3 and 4 dimensions"):
            matched_cosine(random(2, 3), random(2, 4))
        with pytest.raises(UserError, match="NaN"):
            matched_cosine(random(2, 3), torch.full((2, 3), torch.nan))


class TestMatchedCosineByParent:
    def test_the_same_blocks_in_another_order(self) -> None:
        d, parents = random(7, 5), torch.tensor([0, 0, 0, 1, 2, 2, 2])
        order = torch.tensor([2, 0, 1, 3, 6, 5, 4])
        assert matched_cosine_by_parent(d, parents, d[order], parents) == pytest.approx(1)

    def test_a_perfect_block_of_3_against_2_has_two_thirds(self) -> None:
        d = torch.eye(3)
        zeros = torch.zeros(3, dtype=torch.int64)
        assert matched_cosine_by_parent(d, zeros, d[:2], zeros[:2]) == pytest.approx(1 - 1 / 3)

    def test_atoms_are_matched_inside_their_parent_only(self) -> None:
        d = torch.eye(2)
        assert matched_cosine_by_parent(d, torch.tensor([0, 1]), d.flip(0), torch.tensor([0, 1])) == pytest.approx(0)

    def test_a_parent_that_is_gone_scores_lowest(self) -> None:
        d = torch.eye(2)
        found = matched_cosine_by_parent(d, torch.tensor([0, 1]), d[:1], torch.tensor([0]))
        assert found == pytest.approx((1 - 1) / 2)

    @pytest.mark.parametrize("scales", [(1e-25, 1.0), (1.0, 1e-25), (1e-25, 1e-25)])
    def test_atoms_whose_squares_vanish_in_float32_count_as_others_do(self, scales: tuple[float, float]) -> None:
        d = torch.eye(3)
        # A smaller parent first, so that an atom left out would shift the parents of the others.
        parents = torch.tensor([0, 1, 1])
        d1, d2 = (torch.cat([d[:1] * scale, d[1:]]) for scale in scales)
        assert matched_cosine_by_parent(d1, parents, d2, parents) == pytest.approx(1)

    def test_parents_must_fit(self) -> None:
        with pytest.raises(UserError, match="must contain one"):
            matched_cosine_by_parent(random(3, 2), torch.zeros(2), random(3, 2), torch.zeros(3))


class TestEffectiveRank:
    @pytest.mark.parametrize("n", [1, 2, 9])
    def test_the_identity_has_rank_n(self, n: int) -> None:
        assert effective_rank(torch.eye(n)) == pytest.approx(n)

    def test_a_diagonal_of_2_1_1_has_twice_the_root_of_2(self) -> None:
        """With p = sigma / sum sigma = (1/2, 1/4, 1/4), H = 1.5 ln 2. Of squared singular values it would be 2.38."""
        assert effective_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))) == pytest.approx(2 * math.sqrt(2))
        squared = np.array([4, 1, 1]) / 6
        assert math.exp(-(squared * np.log(squared)).sum()) == pytest.approx(2.381, abs=1e-3)

    def test_equal_atoms_have_rank_1_and_none_has_none(self) -> None:
        assert effective_rank(torch.ones(5, 3)) == pytest.approx(1)
        assert effective_rank(torch.eye(4).repeat(6, 1)) == pytest.approx(4)
        assert math.isnan(effective_rank(torch.zeros(3, 3)))

    def test_rows_along_axes_have_the_rank_of_any_rotation(self) -> None:
        rows = torch.eye(5)[torch.tensor([0, 0, 1, 2, 2, 2, 4])] * torch.tensor([1.0, 2, 3, -1, 5, 2, 0.5])[:, None]
        rotation = torch.linalg.qr(random(5, 5).double()).Q
        assert effective_rank(rows) == pytest.approx(effective_rank(rows.double() @ rotation), rel=1e-9)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6))
    def test_is_the_entropy_of_the_roots_of_the_gram_matrix(self, k: int, d: int, seed: int) -> None:
        atoms = random(k, d, seed)
        values = np.sqrt(np.maximum(np.linalg.eigvalsh((atoms @ atoms.T).double().numpy()), 0))
        p = values[values > 1e-5] / values.sum()
        assert effective_rank(atoms) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-2)

    def test_tall_wide_and_rotated_agree(self) -> None:
        d = random(30, 6)
        q, _ = torch.linalg.qr(random(6, 6, 3))
        values = torch.linalg.svdvals(d.double())
        p = values / values.sum()
        expected = float(torch.exp(-(p * p.log()).sum()))
        for other in (d, d.T, d @ q, 5 * d):
            assert effective_rank(other) == pytest.approx(expected, rel=1e-6)


class TestMaxCollinearity:
    def test_orthonormal_atoms_have_0(self) -> None:
        assert max_collinearity(torch.eye(5)) == 0

    def test_a_duplicate_atom_has_1(self) -> None:
        assert max_collinearity(torch.cat([random(4, 3), 2 * random(4, 3)[:1]])) == pytest.approx(1)
        assert max_collinearity(torch.tensor([[1.0, 0.0], [-1.0, 1e-9]])) == pytest.approx(1)

    def test_one_atom_has_none(self) -> None:
        assert math.isnan(max_collinearity(torch.tensor([[1.0, 2.0], [0.0, 0.0]])))

    def test_is_what_overcomplete_calls_collinearity(self) -> None:
        library = pytest.importorskip("overcomplete.metrics")
        d = random(30, 6)
        assert max_collinearity(d) == pytest.approx(float(library.dictionary_collinearity(d)[0]), abs=1e-5)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 10**6))
    def test_nearest_cosines_by_brute_force(self, k: int, d: int, seed: int) -> None:
        atoms = random(k, d, seed).double().numpy()
        found = nearest_cosines(torch.from_numpy(atoms), block_rows=3)
        for i in range(k):
            others = [
                abs(float(atoms[i] @ atoms[j])) / math.sqrt(float(atoms[i] @ atoms[i]) * float(atoms[j] @ atoms[j]))
                for j in range(k)
                if j != i
            ]
            assert float(found[i]) == pytest.approx(max(others), abs=1e-9)

    def test_quantiles_lie_between_the_order_statistics(self) -> None:
        # 0, 1, ..., 100 shuffled: the quantile at p is 100 p.
        values = torch.arange(101, dtype=torch.float64)[torch.randperm(101, generator=torch.Generator().manual_seed(0))]
        assert quantiles(values) == pytest.approx({f"{p:g}": 100 * p for p in QUANTILES})
        assert quantiles(torch.tensor([1.0, 2.0]))["0.25"] == 1.25

    def test_equal_atoms_have_a_cosine_of_one(self) -> None:
        d = random(20, 6)
        assert max_collinearity(d) < 1 - 1e-6
        assert max_collinearity(torch.cat([d, d[3:4]])) == 1.0
        # Zero atoms are no atoms, however many.
        assert max_collinearity(torch.cat([d, torch.zeros(2, 6)])) == max_collinearity(d)

    def test_blocks_do_not_matter(self) -> None:
        d = random(50, 4)
        torch.testing.assert_close(nearest_cosines(d, block_rows=7), nearest_cosines(d))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 10**6))
def test_overlaps_are_jaccard_indices(n_units: int, top: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.stack([rng.choice(7, top, replace=False) for _ in range(n_units)], 1)
    value = np.maximum(rng.integers(-1, 3, image.shape), 0).astype(np.float32)
    parent = np.sort(rng.integers(0, 3, n_units))
    tensors = torch.from_numpy(image), torch.from_numpy(value)
    found, across = nearest_overlaps(*tensors, parents=torch.from_numpy(parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_overlap, "_DENSE_UP_TO", 0)
        patch.setattr(unit_overlap, "_ROWS", 3)
        sparse = nearest_overlaps(*tensors, parents=torch.from_numpy(parent))
    assert torch.equal(sparse[0], found) and torch.equal(sparse[1], across)
    assert all(torch.equal(side, found) for side in nearest_overlaps(*tensors))
    sets = [set(image[value[:, u] > 0, u].tolist()) for u in range(n_units)]
    for u in range(n_units):
        jaccard = {v: len(sets[u] & sets[v]) / max(1, len(sets[u] | sets[v])) for v in range(n_units) if v != u}
        assert float(found[u]) == pytest.approx(max(jaccard.values(), default=0.0))
        others = [value for v, value in jaccard.items() if parent[v] != parent[u]]
        assert float(across[u]) == pytest.approx(max(others, default=0.0))


# ---- the metrics, of a fitted split


class Known(NamedTuple):
    """Part of a method that the metrics read."""

    atoms: torch.Tensor
    parents: torch.Tensor
    spec: Any = SimpleNamespace(virtual=False)
    decode_reads_input: bool = False

    @property
    def n_units(self) -> int:
        return len(self.atoms)

    def require_dictionary(self) -> Dictionary:
        return Dictionary(self.atoms, self.parents, "reader")

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.new_zeros(len(codes), 2).index_add_(1, self.parents, codes) + 5


def scores_of(metric: type[Metric], method: Known, **units: torch.Tensor) -> dict[str, Score]:
    outcome = SimpleNamespace(method=method, units=SimpleNamespace(**units), unit_columns={})
    made = metric(SimpleNamespace(top_images=16))  # type: ignore[arg-type]
    return {score.metric: score for score in made.compute(outcome)}  # type: ignore[arg-type]


def test_concepts_that_two_neurons_share_are_seen_across_neurons() -> None:
    """Units 0, 1 split neuron 0; units 2, 3 neuron 1. Units 0 and 2 show the same images, the others their own."""
    image = torch.tensor([[0, 4, 0, 8], [1, 5, 1, 9], [2, 6, 2, 10], [3, 7, 3, 4]])
    method = Known(torch.eye(4), torch.tensor([0, 0, 1, 1]))
    found = scores_of(
        UnitOverlap, method, alive=torch.ones(4, dtype=torch.bool), top_image=image, top_value=torch.ones(4, 4)
    )
    # Unit 3 shares image 4 with unit 1: 1 of 7.
    assert found["unit_overlap"].value == found["unit_overlap_across"].value == pytest.approx((1 + 1 + 2 / 7) / 4)
    assert found["unique_units"].value == 0.5
    details = found["unit_overlap"].details
    assert details is not None and details["nearest_is_another_neurons"] == 1
    assert details["quantiles"]["0.5"] == pytest.approx((1 + 1 / 7) / 2)
    # The same images inside one neuron: nothing is shared across.
    inside = scores_of(
        UnitOverlap,
        method._replace(parents=torch.tensor([0, 1, 0, 1])),
        alive=torch.tensor([True, False, True, True]),
        top_image=image,
        top_value=torch.ones(4, 4),
    )
    assert (inside["unit_overlap"].value, inside["unit_overlap_across"].value) == (pytest.approx(2 / 3), 0)
    assert inside["unit_overlap"].details is not None
    assert inside["unit_overlap"].details["nearest_is_another_neurons"] == 0


def test_what_a_split_writes_tells_its_counts_alone() -> None:
    """3 and 1 sub-units: the writing directions are basis vectors, with singular values sqrt(3) and 1."""
    method = Known(random(4, 7), torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(writing_directions(method), torch.eye(2)[method.parents])  # type: ignore[arg-type]
    p = np.array([math.sqrt(3), 1]) / (math.sqrt(3) + 1)
    rank = scores_of(EffectiveRank, method)
    details = rank["effective_rank"].details
    assert details is not None and details["writer"] == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert rank["effective_rank"].value == pytest.approx(effective_rank(method.atoms))
    assert rank["effective_rank_share"].value == pytest.approx(effective_rank(method.atoms) / 4)
    collinear = scores_of(MaxCollinearity, method)
    assert collinear["max_collinearity"].details == {"width": 7, "writer": 1.0}
    assert collinear["max_collinearity"].params == {"direction": "reader"}
    assert collinear["max_collinearity"].value == pytest.approx(max_collinearity(method.atoms))
    assert collinear["min_distinctness"].value == pytest.approx(1 - max_collinearity(method.atoms))
    nearest = nearest_cosines(method.atoms).numpy()
    for name, expected in (
        ("mean", nearest.mean()),
        ("median", np.median(nearest)),
        ("p95", np.quantile(nearest, 0.95)),
    ):
        assert collinear[f"nearest_cosine_{name}"].value == pytest.approx(expected)
