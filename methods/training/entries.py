"""Active entries of a batch of codes, and linear maps from and to them whose cost depends only on active entries.

Forward and backward of ``values -> values @ atoms`` and of ``(x, weight, bias) -> pre-codes at the entries`` are equal
to their dense forms; the dense encoder product itself stays dense, because the selection needs every pre-code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.training import kernels

#: Above this share of active units, dense products are faster than sparse ones (measured on two cores with AVX-512, 384
#: -> 3072: a dense product takes 65 ms, a sparse one 1.2 ms for every 0.1 % of active units).
DENSE_FROM = 0.05


class ByUnit(NamedTuple):
    """The same entries sorted by unit, then row."""

    rows: NDArray[np.int32]
    """(n_entries,)"""
    order: NDArray[np.int64]
    """(n_entries,) positions of the sorted entries in the original order"""
    offsets: NDArray[np.int32]
    """(n_units + 1,)"""


@dataclass(frozen=True, eq=False)
class Entries:
    """Nonzero entries of a batch of codes (n, n_units), by row: row s is at ``offsets[s]`` to ``offsets[s + 1]``."""

    units: NDArray[np.int64]
    """(n_entries,) column of each entry"""
    offsets: NDArray[np.int64]
    """(n + 1,)"""
    n_units: int

    @cached_property
    def unit_index(self) -> Tensor:
        """Return the column of each entry as a tensor, (n_entries,) int64."""
        return torch.from_numpy(self.units)

    @cached_property
    def by_unit(self) -> ByUnit:
        # scipy transposes by counting: 80,000 entries take 0.3 ms where a sort takes 100.
        shape = len(self.offsets) - 1, self.n_units
        matrix = scipy.sparse.csr_matrix((np.arange(len(self.units)), self.units, self.offsets), shape=shape).tocsc()
        return ByUnit(matrix.indices, matrix.data, matrix.indptr)

    def masked(self, keep: NDArray[np.bool_]) -> Entries:
        """Return only the entries for which ``keep`` (n_entries,) is true."""
        running = np.concatenate([[0], np.cumsum(keep)])
        return Entries(self.units[keep], running[self.offsets], self.n_units)


def sparse_here(x: Tensor) -> bool:
    """Return whether the compiled kernels can be used for x: they need float32 or float64 on the CPU."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


class SelectedCodes(NamedTuple):
    """Entries of the pre-codes that can be active."""

    values: Tensor
    """(n_entries,) their pre-codes, detached"""
    entries: Entries


def largest_entries(pre: Tensor, k: int) -> SelectedCodes:
    """Return the k largest of each row of pre (n, n_units), k <= n_units."""
    n, n_units = pre.shape
    units = np.empty((n, k), dtype=np.int64)
    values = torch.empty(n, k, dtype=pre.dtype)
    kernels.largest(pre.detach().contiguous().numpy(), k, units, values.numpy())
    return SelectedCodes(values.flatten(), Entries(units.reshape(-1), np.arange(0, n * k + 1, k), n_units))


def entries_from(pre: Tensor, floor: Tensor, limit: float = DENSE_FROM) -> SelectedCodes | None:
    """Return all entries of pre (n, n_units) that are >= floor (n_units,), or None if their share exceeds ``limit``."""
    rows, least = pre.detach().contiguous().numpy(), floor.detach().to(pre.dtype).contiguous().numpy()
    counts = np.empty(len(rows), dtype=np.int64)
    kernels.count_from(rows, least, counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    if offsets[-1] > limit * pre.numel():
        return None
    units = np.empty(offsets[-1], dtype=np.int64)
    values = torch.empty(int(offsets[-1]), dtype=pre.dtype)
    kernels.fill_from(rows, least, offsets, units, values.numpy())
    return SelectedCodes(values, Entries(units, offsets, pre.shape[1]))


def weighted_sums(columns: Any, offsets: Any, weights: Tensor, table: Tensor) -> Tensor:
    """Return (n, d): the sum of ``weights[e] * table[columns[e]]`` over e in offsets[s] to offsets[s + 1]."""
    out = torch.empty(len(offsets) - 1, table.shape[1], dtype=table.dtype)
    kernels.weighted_rows(columns, offsets, weights.contiguous().numpy(), table.contiguous().numpy(), out.numpy())
    return out


class PreCodesAt(torch.autograd.Function):
    """Already computed pre-codes ``x @ weight.T + bias`` at entries, differentiable in weight and bias, not in x."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, weight: Tensor, bias: Tensor, entries: Entries) -> Tensor:
        ctx.save_for_backward(x)
        ctx.entries = entries
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        entries: Entries = ctx.entries
        (gradient,) = gradients
        sorted_by = entries.by_unit
        weight = weighted_sums(sorted_by.rows, sorted_by.offsets, gradient[torch.from_numpy(sorted_by.order)], x)
        bias = torch.zeros(entries.n_units, dtype=x.dtype).index_add_(0, entries.unit_index, gradient)
        return None, None, weight, bias, None


class Decoded(torch.autograd.Function):
    """``codes @ atoms`` (n, d) for codes that are ``values`` at the entries and zero elsewhere."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, atoms: Tensor, entries: Entries) -> Tensor:
        ctx.save_for_backward(values, atoms)
        ctx.entries = entries
        return weighted_sums(entries.units, entries.offsets, values.detach(), atoms.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, atoms = ctx.saved_tensors
        entries: Entries = ctx.entries
        gradient = gradients[0].contiguous()
        of_values = of_atoms = None
        if ctx.needs_input_grad[0]:
            of_values = torch.empty_like(values)
            kernels.row_products(
                entries.units, entries.offsets, gradient.numpy(), atoms.detach().contiguous().numpy(), of_values.numpy()
            )
        if ctx.needs_input_grad[1]:
            sorted_by = entries.by_unit
            of_atoms = weighted_sums(
                sorted_by.rows, sorted_by.offsets, values.detach()[torch.from_numpy(sorted_by.order)], gradient
            )
        return of_values, of_atoms, None
