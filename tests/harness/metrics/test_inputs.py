"""Public metric functions on invalid input: the right value, NaN where it is defined to be, or one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import methods
from harness import metrics
from harness.errors import ArgumentError
from harness.metrics.inputs import in_range

NOT_FINITE = [math.nan, math.inf, -math.inf]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def poked(x: Tensor, value: float, *position: int) -> Tensor:
    x = x.clone()
    x[position] = value
    return x


A = drawn(20, 4)


class TestR2:
    @pytest.mark.parametrize("value", NOT_FINITE)
    def test_nan_in_a_feature_does_not_drop_it(self, value: float) -> None:
        """It counted as a constant feature: a perfect score of 1 was the answer."""
        with pytest.raises(ArgumentError, match=r"r2: a\[3, 2\] is -?(nan|inf); a must not contain NaN or infinity"):
            metrics.r2(poked(A, value, 3, 2), A)
        with pytest.raises(ArgumentError, match=r"r2: a_hat\[3, 2\]"):
            metrics.r2(A, poked(A, value, 3, 2))
        flat = A.clone()
        flat[:, 2] = 1
        with pytest.raises(ArgumentError, match="a_hat"):
            metrics.R2().update(A, A).update(flat, poked(flat, value, 3, 2))

    def test_the_error_is_one_for_users_and_for_programs(self) -> None:
        assert issubclass(ArgumentError, methods.UserError) and issubclass(ArgumentError, ValueError)

    def test_no_rows_no_features_one_row_and_constants_are_undefined(self) -> None:
        for a in (A[:0], A[:1], A[:, :0], torch.ones(5, 3)):
            assert math.isnan(metrics.r2(a, a))

    def test_a_constant_in_float64_is_constant_though_its_mean_rounds(self) -> None:
        constant = torch.full((7, 1), 0.1, dtype=torch.float64)
        varying = A[:7, :1].double()
        both = metrics.r2(torch.cat([constant, varying], 1), torch.cat([1.1 * constant, 0.9 * varying], 1))
        assert both == metrics.r2(varying, 0.9 * varying)

    def test_the_smallest_variance_that_float32_holds_counts(self) -> None:
        a = torch.full((1000, 1), 1000.0)
        a[3] = torch.nextafter(a[3], torch.tensor(2000.0))
        assert metrics.r2(a, a) == 1 and metrics.r2(a, torch.full_like(a, 1000.0)) == pytest.approx(0, abs=0.01)

    def test_dtypes_layout_and_batches(self) -> None:
        whole = metrics.r2(A, 0.9 * A)
        assert metrics.r2(A.T.contiguous().T, 0.9 * A) == whole
        assert metrics.r2(A.clone().requires_grad_(), 0.9 * A) == whole
        assert metrics.r2(A.half(), (0.9 * A).half()) == pytest.approx(whole, abs=1e-3)
        assert metrics.r2((100 * A).int(), (90 * A).int()) == pytest.approx(whole, abs=1e-2)
        parts = metrics.R2().update(A[:7], 0.9 * A[:7]).update(A[7:7], A[7:7]).update(A[7:], 0.9 * A[7:])
        assert parts.compute() == pytest.approx(whole)

    @pytest.mark.parametrize(
        ("a", "a_hat", "sentence"),
        [
            (A, A[:, :1], "same shape"),
            (A[0], A[0], "same shape"),
            (A.numpy(), A, "a is a ndarray"),
            (A, A + 0j, "a_hat has the dtype torch.complex64"),
            (1e200 * A.double(), A.double(), "exceed the range"),
        ],
    )
    def test_other_shapes_kinds_and_sizes(self, a: Tensor, a_hat: Tensor, sentence: str) -> None:
        with pytest.raises(ArgumentError, match=sentence):
            metrics.r2(a, a_hat)

    def test_rows_of_another_width_are_not_broadcast(self) -> None:
        with pytest.raises(ArgumentError, match="rows of 1 features cannot be added to rows of 4"):
            metrics.R2().update(A, A).update(A[:, :1], A[:, :1])


class TestMSScore:
    weights = torch.rand(20, generator=torch.Generator().manual_seed(1))

    @pytest.mark.parametrize("value", NOT_FINITE[:2])
    def test_nan_and_infinity_are_undefined(self, value: float) -> None:
        assert math.isnan(metrics.ms_score(poked(A, value, 3, 2), self.weights))
        assert math.isnan(metrics.ms_score(A, poked(self.weights, value, 3)))
        assert math.isnan(metrics.ms_score(poked(A, value, 3, 2), poked(self.weights, 0, 3)))

    @pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310])
    def test_scale_does_not_matter(self, scale: float) -> None:
        expected = metrics.ms_score(A, self.weights)
        assert metrics.ms_score(A.double() * scale, self.weights) == pytest.approx(expected)
        assert metrics.ms_score(A, self.weights.double() * scale) == pytest.approx(expected)

    def test_negative_weights_other_shapes_and_kinds_are_refused(self) -> None:
        with pytest.raises(ArgumentError, match=r"weights contain -0\.\d+; they must not be negative"):
            metrics.ms_score(A, -self.weights)
        for wrong in (self.weights[:3], self.weights[:, None]):
            with pytest.raises(ArgumentError, match="must have the shapes"):
                metrics.ms_score(A, wrong)
        with pytest.raises(ArgumentError, match="real numbers"):
            metrics.ms_score(A + 0j, self.weights)
        with pytest.raises(ArgumentError, match="ndarray"):
            metrics.ms_score(A.numpy(), self.weights)


def by_parent(d: Tensor) -> float:
    return metrics.matched_cosine_by_parent(d, torch.arange(len(d)), d, torch.arange(len(d)))


def with_itself(d: Tensor) -> float:
    return metrics.matched_cosine(d, d)


GEOMETRY: list[Callable[[Tensor], float]] = [metrics.effective_rank, metrics.max_collinearity, with_itself, by_parent]


@pytest.mark.parametrize("function", GEOMETRY)
class TestGeometry:
    def test_invalid_dictionaries(self, function: Callable[[Tensor], float]) -> None:
        for value in NOT_FINITE:
            with pytest.raises(ArgumentError, match="NaN or infinity"):
                function(poked(A, value, 3, 2))
        for wrong in (A[0], A[None], A + 0j):
            with pytest.raises(ArgumentError, match=r"must be a matrix \(n_units, d\) of real numbers"):
                function(wrong)

    def test_no_atom_no_width_and_zeros_are_undefined(self, function: Callable[[Tensor], float]) -> None:
        for empty in (A[:0], A[:, :0], A * 0):
            assert math.isnan(function(empty))

    @pytest.mark.parametrize("scale", [1e200, 1e307, 1e-200, 1e-310])
    def test_scale_does_not_matter(self, function: Callable[[Tensor], float], scale: float) -> None:
        assert function(A.double() * scale) == pytest.approx(function(A.double()))

    def test_dtypes_and_layout(self, function: Callable[[Tensor], float]) -> None:
        assert function(A.T.contiguous().T) == function(A.clone().requires_grad_()) == function(A)
        assert function(A.half()) == pytest.approx(function(A), abs=1e-3)


def test_dictionaries_are_not_the_arrays_of_another_library() -> None:
    with pytest.raises(ArgumentError, match="ndarray"):
        metrics.effective_rank(A.numpy())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="4 and 2 dimensions"):
        metrics.matched_cosine(A, A[:, :2])


def test_parents_are_whole_numbers() -> None:
    parents = torch.arange(20) // 2
    assert metrics.matched_cosine_by_parent(A, parents.double(), A, parents) == pytest.approx(1)
    for wrong in (parents + 0.5, poked(parents.float(), math.nan, 3), parents.numpy()):
        with pytest.raises(ArgumentError, match="whole numbers"):
            metrics.matched_cosine_by_parent(A, wrong, A, parents)
    with pytest.raises(ArgumentError, match="one parent per atom"):
        metrics.matched_cosine_by_parent(A, parents[:3], A, parents)


def test_ordinary_rows_are_not_scaled() -> None:
    rows = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1e30, 1e-30]], dtype=torch.float64)
    assert torch.equal(in_range(rows), rows) and in_range(rows[:0]).shape == (0, 2)
    assert float(in_range(torch.tensor([[1e300, 0.0]], dtype=torch.float64)).max()) == pytest.approx(0.75, abs=0.25)
