"""Dense codes on the CPU, and their gradients, with as few passes over (n, n_units) matrices as possible."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.training import dense_kernels, kernels
from methods.training.entries import sparse_here


class DenseCodes(NamedTuple):
    """Dense codes and what one pass over them gives."""

    values: Tensor
    """(n, n_units)"""
    total: Tensor
    """() sum of all codes"""
    fires: Tensor
    """(n_units,) int64: number of rows in which each unit is not zero"""


class GivenCodes(torch.autograd.Function):
    """Dense codes (n, n_units) that are ``(x - shift) @ weight.T + bias`` where not zero, and their sum ().

    They are already computed, on the CPU. Differentiable in weight, bias and shift (d,), which may be None; not in x.
    """

    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, total: Tensor, x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(codes, x, weight, shift)
        ctx.set_materialize_grads(False)
        return codes.view_as(codes), total.view_as(total)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        codes, x, weight, shift = ctx.saved_tensors
        slope, sums = active_slope(codes, *gradients)
        of_weight = of_shift = None
        if ctx.needs_input_grad[3]:
            of_weight = slope.T @ x
            if shift is not None:
                of_weight.addr_(sums, shift, alpha=-1)
        if ctx.needs_input_grad[5]:
            of_shift = -(sums @ weight)
        return None, None, None, of_weight, sums, of_shift


def active_slope(codes: Tensor, of_codes: Tensor | None, of_total: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the gradient at the pre-codes (n, n_units), and its sums over rows, of dense codes and of their sum."""
    slope = torch.empty_like(codes)
    gradient = torch.zeros_like(codes) if of_codes is None else of_codes.contiguous()
    totals = np.zeros((kernels.RANGES, codes.shape[1]), dtype=slope.numpy().dtype)
    constant = 0.0 if of_total is None else float(of_total)
    dense_kernels.active_slope(codes.numpy(), gradient.numpy(), constant, slope.numpy(), totals)
    return slope, torch.from_numpy(totals).sum(0)


def rectified(pre: Tensor) -> DenseCodes:
    """Return ``relu(pre)`` of pre (n, n_units), detached and on the CPU, which is overwritten."""
    totals, counts = pre.new_empty(len(pre)), _no_counts(pre)
    dense_kernels.rectify(pre.numpy(), totals.numpy(), counts)
    return DenseCodes(pre, totals.sum(), _sum(counts))


def largest_dense(pre: Tensor, k: int) -> DenseCodes:
    """Return the k largest positive entries of each row of pre (n, n_units), detached, which is overwritten.

    Rows in which entries are equal to the k-th largest may keep more.
    """
    cut = pre.new_empty(len(pre))
    kernels.cuts(pre.numpy(), k, cut.numpy())
    return dense_from(pre, cut)


def dense_from(pre: Tensor, threshold: Tensor) -> DenseCodes:
    """Return the positive entries of pre (n, n_units), detached, from threshold (n,) on; pre is overwritten."""
    totals, counts = pre.new_empty(len(pre)), _no_counts(pre)
    dense_kernels.keep_from(pre.numpy(), threshold.contiguous().numpy(), totals.numpy(), counts)
    return DenseCodes(pre, totals.sum(), _sum(counts))


def _no_counts(codes: Tensor) -> NDArray[np.int32]:
    return np.zeros((kernels.RANGES, codes.shape[1]), dtype=np.int32)


def _sum(counts: NDArray[np.int32]) -> Tensor:
    return torch.from_numpy(counts).sum(0)


class GivenPreCodes(torch.autograd.Function):
    """Dense pre-codes (n, n_units) that are already computed, differentiable in weight and bias."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return pre.view_as(pre)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return None, None, gradients[0].T @ x, gradients[0].sum(0)


def nonzero_counts(codes: Tensor) -> Tensor:
    """Return (n_units,), the number of nonzero rows of dense codes (n, n_units) in each column."""
    values = codes.detach()
    if not sparse_here(values):
        return (values != 0).sum(0)
    counts = _no_counts(values)
    dense_kernels.column_counts(values.contiguous().numpy(), counts)
    return _sum(counts)


def to_shares(rows: Tensor) -> None:
    """Set negative entries of rows (n, m) to zero, and divide each row by its sum plus 1e-8, in place."""
    if sparse_here(rows):
        dense_kernels.to_shares(rows.numpy())
        return
    rows.clamp_(min=0)
    rows.div_(rows.sum(1, keepdim=True) + 1e-8)
