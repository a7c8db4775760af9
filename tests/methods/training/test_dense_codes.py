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


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def topk(pre: Tensor) -> Tensor:
    active = torch.relu(pre)
    kept = active.topk(7, dim=1)
    return torch.zeros_like(active).scatter(1, kept.indices, kept.values)


def from_one(pre: Tensor) -> Tensor:
    return pre * (pre >= 1)


@pytest.mark.parametrize("with_shift", [False, True])
@pytest.mark.parametrize(
    ("form", "activation"),
    [
        (rectified, torch.relu),
        (lambda pre: largest_dense(pre, 7), topk),
        (lambda pre: dense_from(pre, torch.ones(len(pre), dtype=pre.dtype)), from_one),
    ],
    ids=["relu", "topk", "threshold"],
)
def test_codes_sum_and_gradients_are_those_of_autograd(
    form: Callable[[Tensor], DenseCodes], activation: Callable[[Tensor], Tensor], with_shift: bool
) -> None:
    x, target = seeded(30, 5), seeded(30, 40, seed=1)
    leaves = [seeded(40, 5, seed=2), seeded(40, seed=3), seeded(5, seed=4)]
    results = []
    for given in (False, True):
        weight, bias, shift = (leaf.clone().requires_grad_() for leaf in leaves)
        used = shift if with_shift else None
        pre = (x - shift if with_shift else x) @ weight.T + bias
        if given:
            made = form(pre.detach().clone())
            codes, total = GivenCodes.apply(made.values, made.total, x, weight, bias, used)
            assert torch.equal(made.fires, (codes != 0).sum(0))
        else:
            codes = activation(pre)
            total = codes.sum()
        ((codes * target).sum() + 0.3 * total).backward()
        results.append([codes.detach(), total.detach(), weight.grad, bias.grad, *([shift.grad] if with_shift else [])])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)
    assert 0 < int((results[0][0] != 0).sum()) < 30 * 40


def test_only_what_is_used_has_a_gradient() -> None:
    x, weight, bias = seeded(9, 5), seeded(11, 5, seed=1), seeded(11, seed=2).requires_grad_()
    made = rectified(x @ weight.T + bias.detach())
    codes, _ = GivenCodes.apply(made.values, made.total, x, weight, bias, None)
    codes.sum().backward()
    assert weight.grad is None and bias.grad is not None and torch.equal(bias.grad, made.fires.double())
    assert not GivenCodes.apply(made.values, made.total, x, weight, bias.detach(), None)[0].requires_grad


def test_not_a_number_stays_visible() -> None:
    pre = torch.ones(4, 6)
    pre[1, 2] = float("nan")
    for form in (rectified, lambda pre: largest_dense(pre, 2)):
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
