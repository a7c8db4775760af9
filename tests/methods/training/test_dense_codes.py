"""Dense codes of the CPU against autograd on the plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from methods.training.dense_codes import (
    DenseCodes,
    GivenCodes,
    dense_from,
    largest_dense,
    nonzero_counts,
    rectified,
    to_shares,
)
from methods.training.mean_square import MeanSquare


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relu_of(pre: Tensor) -> DenseCodes:
    bias = seeded(pre.shape[1], seed=9).to(pre.dtype)
    return rectified(pre - bias, bias)


def topk(pre: Tensor) -> Tensor:
    active = torch.relu(pre)
    kept = active.topk(7, dim=1)
    return torch.zeros_like(active).scatter(1, kept.indices, kept.values)


def from_one(pre: Tensor) -> Tensor:
    return pre * (pre >= 1)


@pytest.mark.parametrize("with_atoms", [False, True])
@pytest.mark.parametrize("with_shift", [False, True])
@pytest.mark.parametrize(
    ("form", "activation"),
    [
        (relu_of, torch.relu),
        (lambda pre: largest_dense(pre, 7), topk),
        (lambda pre: dense_from(pre, torch.ones(len(pre), dtype=pre.dtype)), from_one),
    ],
    ids=["relu", "topk", "threshold"],
)
def test_codes_sum_and_gradients_are_those_of_autograd(
    form: Callable[[Tensor], DenseCodes], activation: Callable[[Tensor], Tensor], with_shift: bool, with_atoms: bool
) -> None:
    x, target, wanted = seeded(30, 5), seeded(30, 40, seed=1), seeded(30, 3, seed=6)
    leaves = [seeded(40, 5, seed=2), seeded(40, seed=3), seeded(5, seed=4), seeded(40, 3, seed=5)]
    results = []
    for given in (False, True):
        weight, bias, shift, atoms = (leaf.clone().requires_grad_() for leaf in leaves)
        used = shift if with_shift else None
        shifted = x - shift if with_shift else x
        pre = shifted @ weight.T + bias
        if given:
            made = form(pre.detach().clone())
            encoder = shifted.detach(), weight, bias, used
            codes, total, decoding = GivenCodes.apply(made.values, made.total, *encoder, atoms if with_atoms else None)
            assert torch.equal(made.fires, (codes != 0).sum(0))
        else:
            codes = activation(pre)
            total, decoding = codes.sum(), codes @ atoms
        loss = (codes * target).sum() + 0.3 * total
        if with_atoms:
            loss = loss + (decoding * wanted).sum()
        loss.backward()
        grads = [weight.grad, bias.grad, *([shift.grad] if with_shift else []), *([atoms.grad] if with_atoms else [])]
        results.append([codes.detach(), total.detach(), *([decoding.detach()] if with_atoms else []), *grads])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)
    assert 0 < int((results[0][0] != 0).sum()) < 30 * 40


def test_only_what_is_used_has_a_gradient() -> None:
    x, weight, bias = seeded(9, 5), seeded(11, 5, seed=1), seeded(11, seed=2).requires_grad_()
    made = rectified(x @ weight.T, bias)
    codes, _, decoding = GivenCodes.apply(made.values, made.total, x, weight, bias, None, None)
    assert decoding is None
    codes.sum().backward()
    assert weight.grad is None and bias.grad is not None and torch.equal(bias.grad, made.fires.double())
    assert not GivenCodes.apply(made.values, made.total, x, weight, bias.detach(), None, None)[0].requires_grad


def test_a_gradient_with_other_users_is_not_overwritten() -> None:
    x, weight, other = seeded(9, 5), seeded(11, 5, seed=1).requires_grad_(), seeded(9, 11, seed=3).requires_grad_()
    made = rectified(x @ weight.detach().T, torch.zeros(11, dtype=x.dtype))
    codes, _, _ = GivenCodes.apply(made.values, made.total, x, weight, torch.zeros(11, dtype=x.dtype), None, None)
    ((codes + other) * made.values.new_ones(9, 11)).sum().backward()
    assert other.grad is not None and torch.equal(other.grad, torch.ones_like(other))


@pytest.mark.parametrize("width", [1, 16, 37])
def test_mean_square_is_that_of_autograd(width: int) -> None:
    results = []
    for fused in (False, True):
        reconstruction, bias = seeded(30, width).requires_grad_(), seeded(width, seed=1).requires_grad_()
        target = seeded(30, width, seed=2).requires_grad_()
        plain = (reconstruction + bias - target).square().mean()
        value = MeanSquare.apply(reconstruction, bias, target) if fused else plain
        (3 * value).backward()
        results.append([value.detach(), reconstruction.grad, bias.grad, target.grad])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_not_a_number_stays_visible() -> None:
    pre = torch.ones(4, 6)
    pre[1, 2] = float("nan")
    for form in (lambda pre: rectified(pre, torch.zeros(6)), lambda pre: largest_dense(pre, 2)):
        made = form(pre.clone())
        assert bool(made.values[1, 2].isnan()) and bool(made.total.isnan())
    shares = pre.clone()
    to_shares(shares)
    assert bool(shares[1].isnan().all()) and torch.allclose(shares[0], torch.full((6,), 1 / 6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shares_and_counts(dtype: torch.dtype) -> None:
    rows = seeded(7, 50).to(dtype)
    wanted = rows.clamp(min=0) / (rows.clamp(min=0).sum(1, keepdim=True) + 1e-8)
    assert torch.equal(nonzero_counts(rows), torch.full((50,), 7))
    to_shares(rows)
    torch.testing.assert_close(rows, wanted)
    assert torch.equal(nonzero_counts(rows), (wanted != 0).sum(0))
