"""Dense codes on the CPU, and their gradients, with as few passes over (n, n_units) matrices as possible."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    """Dense codes (n, n_units) that are ``shifted @ weight.T + bias`` where not zero, their sum (), and their decoding.

    They are already computed, on the CPU. Differentiable once in weight, bias, shift (d_in,), which has been subtracted
    from ``shifted`` (n, d_in) or is None, and in atoms (n_units, d_out); not in ``shifted``. The decoding is ``codes @
    atoms``, or None without atoms.
    """

    @staticmethod
    def forward(
        ctx: Any,
        codes: Tensor,
        total: Tensor,
        shifted: Tensor,
        weight: Tensor,
        bias: Tensor,
        shift: Tensor | None,
        atoms: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(codes, shifted, weight, atoms)
        ctx.set_materialize_grads(False)
        return codes.view_as(codes), total.view_as(total), None if atoms is None else codes @ atoms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        codes, shifted, weight, atoms = ctx.saved_tensors
        of_codes, of_total, of_decoding = gradients
        of_weight = of_shift = of_atoms = None
        # A gradient that was passed in may have other users, so what is overwritten below is made here.
        if of_decoding is None:
            slope = torch.zeros_like(codes)
        else:
            slope = of_decoding @ atoms.T
            of_atoms = codes.T @ of_decoding if ctx.needs_input_grad[6] else None
        if of_codes is not None:
            slope += of_codes
        sums = keep_active(slope, codes, of_total)
        if ctx.needs_input_grad[3]:
            of_weight = slope.T @ shifted
        if ctx.needs_input_grad[5]:
            # Of a vector times a matrix, the library makes a product of matrices, which takes several times as long.
            of_shift = -torch.mv(weight.T, sums)
        return None, None, None, of_weight, sums, of_shift, of_atoms


def keep_active(slope: Tensor, codes: Tensor, of_total: Tensor | None) -> Tensor:
    """Turn the gradient at dense codes (n, n_units) into that at their pre-codes, in place, and return its row sums.

    of_total is the gradient at the sum of all codes.
    """
    totals = np.zeros((kernels.RANGES, codes.shape[1]), dtype=slope.numpy().dtype)
    constant = 0.0 if of_total is None else float(of_total)
    dense_kernels.keep_active(codes.numpy(), slope.numpy(), constant, totals)
    return torch.from_numpy(totals).sum(0)


def rectified(products: Tensor, bias: Tensor) -> DenseCodes:
    """Return ``relu(products + bias)`` of products (n, n_units), detached, on the CPU, which is overwritten."""
    totals, counts = products.new_empty(len(products)), _no_counts(products)
    dense_kernels.rectify(products.numpy(), bias.detach().contiguous().numpy(), totals.numpy(), counts)
    return DenseCodes(products, totals.sum(), _sum(counts))


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
