"""Error of nested prefixes of a dictionary at active entries, on the CPU: one pass forwards and one backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.training import kernels
from methods.training.entries import Entries, weighted_sums


class NestedError(torch.autograd.Function):
    """Mean over prefixes m of ``mean (codes[:, :m] @ atoms[:m] + bias - target)^2`` ().

    Codes (n, n_units) are ``values`` at the entries, whose units ascend within a row, and zero elsewhere. ``sizes`` are
    the lengths of the prefixes, ascending to n_units. Differentiable in values, atoms (n_units, d) and bias (d,).
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, atoms: Tensor, bias: Tensor, entries: Entries, target: Tensor, sizes: Sequence[int]
    ) -> Tensor:
        n, d, m = len(target), target.shape[1], len(sizes)
        groups = _group_offsets(entries, sizes)
        parts = weighted_sums(entries.units, groups, values.detach(), atoms.detach())
        errors = parts.new_empty(n)
        kernels.nest(parts.numpy().reshape(n, m, d), (target - bias.detach()).numpy(), errors.numpy())
        ctx.save_for_backward(values, atoms, parts)
        ctx.entries, ctx.sizes, ctx.groups = entries, sizes, groups
        ctx.number = n * d * m
        mean: Tensor = errors.sum() / ctx.number
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, atoms, slopes = ctx.saved_tensors
        entries, m = ctx.entries, len(ctx.sizes)
        factor = gradients[0] * (2 / ctx.number)
        of_values = of_atoms = of_bias = None
        if ctx.needs_input_grad[0]:
            of_values = torch.empty_like(values)
            kernels.row_products(
                entries.units, ctx.groups, slopes.numpy(), atoms.detach().contiguous().numpy(), of_values.numpy()
            )
            of_values *= factor
        if ctx.needs_input_grad[1]:
            sorted_by = entries.by_unit
            group = np.searchsorted(ctx.sizes, np.arange(entries.n_units), side="right")
            # Row s * m + i of the slopes is that of group i on row s.
            rows = sorted_by.rows * m + np.repeat(group, np.diff(sorted_by.offsets)).astype(np.int32)
            weights = values.detach()[torch.from_numpy(sorted_by.order)] * factor
            of_atoms = weighted_sums(rows, sorted_by.offsets, weights, slopes)
        if ctx.needs_input_grad[2]:
            of_bias = slopes[::m].sum(0) * factor
        return of_values, of_atoms, of_bias, None, None, None


def _group_offsets(entries: Entries, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return where each row's entries pass from one group to the next, (n * m + 1,): group i is new in prefix i."""
    n, m = len(entries.offsets) - 1, len(sizes)
    offsets = np.zeros(n * m + 1, np.int64)
    kernels.group_ends(entries.units, entries.offsets, np.asarray(sizes, np.int64), offsets)
    return offsets
