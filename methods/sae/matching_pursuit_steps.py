"""Matching pursuit: ``r <- r - <r, d> d`` with the atom d of the largest correlation, k times, and its gradient.

With unit atoms each step leaves ``|r'|^2 = |r|^2 - <r, d>^2``. The correlations of the next residual follow from the
Gram matrix, ``D r' = D r - <r, d> D d``: one product per batch instead of one per step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from methods.sae import fused_pursuit, pursuit_operations
from methods.training import kernels, pursuit_kernels
from methods.training.entries import sparse_here

#: Above this many bytes the Gram matrix is not formed, and each step multiplies by the dictionary instead.
GRAM_BYTES = 1 << 30


class Path(NamedTuple):
    """Steps of matching pursuit for each row."""

    units: Tensor
    """(n, k) int64 chosen units, in order; a unit may occur more than once"""
    values: Tensor
    """(n, k) correlation at each step: a unit's code is the sum of its steps"""


class Readers(NamedTuple):
    """Linear map that reads the correlations off a residual, where it is not the atoms: ``weight r + bias``."""

    weight: Tensor
    """(n_units, d)"""
    bias: Tensor
    """(n_units,)"""


def gram_of(atoms: Tensor, readers: Tensor | None = None) -> Tensor | None:
    """Return ``atoms @ readers.T`` (n_units, n_units), or None if it is too large; readers are the atoms by default."""
    if len(atoms) ** 2 * atoms.element_size() > GRAM_BYTES:
        return None
    return atoms @ (atoms if readers is None else readers).T


class CachedGram(NamedTuple):
    """:func:`gram_of` the atoms of a fit, which batch after batch is encoded with."""

    fitted: Tensor | None = None
    """tensor of the fit from which the atoms were computed; another tensor is another fit"""
    matrix: Tensor | None = None

    def of(self, atoms: Tensor, fitted: Tensor, readers: Tensor | None = None) -> CachedGram:
        """Return the cache for these atoms and readers: itself if it is of the same fit, dtype and device."""
        wanted = atoms.dtype, atoms.device
        if self.matrix is not None and self.fitted is fitted and (self.matrix.dtype, self.matrix.device) == wanted:
            return self
        return CachedGram(fitted, gram_of(atoms, readers))


@torch.no_grad()
def pursue(x: Tensor, atoms: Tensor, k: int, gram: Tensor | None = None, *, readers: Readers | None = None) -> Path:
    """Run k steps of matching pursuit for each row of x (n, d) with unit atoms (n_units, d).

    ``gram`` is :func:`gram_of` the atoms if it is already computed. Atoms of another length need ``readers`` with
    ``<reader, atom> = 1``. Under autocast too, the dtype of x is used: each step builds on the previous one, so errors
    of bfloat16 would accumulate.
    """
    with torch.autocast(x.device.type, enabled=False):
        weight = atoms if readers is None else readers.weight
        if gram is None:
            gram = gram_of(atoms, weight)
        correlations = x @ weight.T if readers is None else functional.linear(x, weight, readers.bias)
        if gram is not None and sparse_here(x):
            units = np.empty((len(x), k), dtype=np.int64)
            values = torch.empty(len(x), k, dtype=x.dtype)
            pursuit_kernels.pursue(correlations.numpy(), gram.contiguous().numpy(), k, units, values.numpy())
            return Path(torch.from_numpy(units), values)
        if gram is not None:
            if fused_pursuit.fused_here(correlations):
                return Path(*fused_pursuit.choose(correlations, gram, k))
            return Path(*pursuit_operations.choose_by_gram(correlations, gram, k))
        residual = x

        def next_correlations(current: Tensor, value: Tensor, unit: Tensor) -> Tensor:
            nonlocal residual
            residual = residual - value[:, None] * atoms[unit]
            return functional.linear(residual, weight, None if readers is None else readers.bias)

        return Path(*pursuit_operations.choose(correlations, k, next_correlations))


class Residual(torch.autograd.Function):
    """Residual of x (n, d) after a path, differentiable in the atoms (n_units, d).

    Gradients flow through the step sizes; the choice of units is held constant.

    The backward pass walks the steps from the last, restoring each residual from the next: it stores only the last one.
    With g the gradient at a step's residual r' and c = <g, d>, the step gives ``-<r, d> g - c r`` to its atom d and
    passes ``g - c d`` on.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, atoms: Tensor, path: Path) -> Tensor:
        if sparse_here(x):
            n, k = path.units.shape
            residual = torch.empty_like(x)
            columns, weights = path.units.flatten().numpy(), path.values.flatten().numpy()
            offsets = np.arange(0, n * k + 1, k)
            kernels.weighted_rows(columns, offsets, weights, atoms.detach().numpy(), residual.numpy())
            residual = x - residual
        else:
            residual = x - functional.embedding_bag(path.units, atoms, per_sample_weights=path.values, mode="sum")
        ctx.save_for_backward(residual, atoms)
        ctx.path = path
        return residual

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        residual, atoms = ctx.saved_tensors
        path: Path = ctx.path
        if sparse_here(residual):
            slope = gradients[0].contiguous()
            directions = atoms.detach().contiguous().numpy()
            totals = np.zeros((kernels.RANGES, *atoms.shape), dtype=directions.dtype)
            rest = residual.contiguous().numpy()
            pursuit_kernels.pursue_backward(
                path.units.numpy(), path.values.numpy(), rest, slope.numpy(), directions, totals
            )
            return None, torch.from_numpy(totals).sum(0), None
        total = torch.zeros_like(atoms, memory_format=torch.contiguous_format)
        # The kernel adds up in any order, which a user may have forbidden.
        fused = fused_pursuit.fused_here(residual) and not torch.are_deterministic_algorithms_enabled()
        add_gradient = fused_pursuit.add_gradient if fused else pursuit_operations.add_gradient
        add_gradient(total, path.units, path.values, residual, gradients[0], atoms)
        return None, total, None
