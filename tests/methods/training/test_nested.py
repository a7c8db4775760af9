"""Error of nested prefixes at entries against autograd on dense codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.training.entries import Entries
from methods.training.nested import NestedError


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_error(codes: Tensor, atoms: Tensor, bias: Tensor, target: Tensor, sizes: list[int]) -> Tensor:
    errors = [(codes[:, :size] @ atoms[:size] + bias - target).square().mean() for size in sizes]
    return torch.stack(errors).mean()


@pytest.mark.parametrize("sizes", [[20], [1, 20], [3, 4, 11, 20], list(range(1, 21))])
def test_error_and_gradients_are_those_of_dense_codes(sizes: list[int]) -> None:
    n, n_units, d = 13, 20, 6
    codes = seeded(n, n_units) * (seeded(n, n_units, seed=1) > 0.8)
    codes[4] = 0
    target, atoms, bias = seeded(n, d, seed=2), seeded(n_units, d, seed=3), seeded(d, seed=4)
    rows, units = codes.nonzero(as_tuple=True)
    offsets = np.concatenate([[0], np.bincount(rows.numpy(), minlength=n).cumsum()])
    entries = Entries(units.numpy(), offsets, n_units)
    dense = [codes.clone().requires_grad_(), atoms.clone().requires_grad_(), bias.clone().requires_grad_()]
    sparse = [codes[rows, units].requires_grad_(), atoms.clone().requires_grad_(), bias.clone().requires_grad_()]
    one = dense_error(dense[0], dense[1], dense[2], target, sizes)
    two = NestedError.apply(*sparse, entries, target, sizes)
    torch.testing.assert_close(one, two)
    (3 * one).backward()
    (3 * two).backward()
    assert dense[0].grad is not None
    torch.testing.assert_close(sparse[0].grad, dense[0].grad[rows, units])
    for name, left, right in zip(("atoms", "bias"), dense[1:], sparse[1:], strict=True):
        torch.testing.assert_close(left.grad, right.grad, msg=name)
