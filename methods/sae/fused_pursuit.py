"""Matching pursuit on a GPU in two kernels, where PyTorch's operations read and write each row in every step.

One program keeps a row of correlations in registers for all k steps, so each step reads one row of the Gram matrix and
writes two numbers; another does the same with a row's residual in the backward pass. Both are operators of PyTorch: in
a compiled network, in a CUDA graph and for a counter of operations they are one operation each. Units and values
follow :mod:`methods.sae.pursuit_operations`, except for rounding.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from methods.sae import pursuit_operations
from methods.triton_trial import launching, working

#: Longest row that a program holds in its registers. Gram matrices of float32 are not larger either.
LONGEST_ROW = 1 << 14
#: Entries of a row in each warp. Compiled for sm_90, registers suffice, and a multiprocessor has room for two rows of
#: 8192 correlations, or twelve of 1024 features. No GPU has measured other numbers.
CHOOSING_ENTRIES, GRADIENT_ENTRIES = 512, 256
MOST_WARPS = 16


class Kernels:
    """The kernels, as functions of contiguous tensors in float32; ``programs`` is the module of the programs."""

    def __init__(self, programs: ModuleType):
        self.programs = programs

    def choose(self, correlations: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return :func:`pursuit_operations.choose_by_gram`; correlations are left as they are."""
        n, n_units = correlations.shape
        units = torch.empty(n, k, dtype=torch.int64, device=correlations.device)
        values = torch.empty(n, k, dtype=correlations.dtype, device=correlations.device)
        if n:
            block, warps = _block(n_units, CHOOSING_ENTRIES)
            with launching(correlations):
                self.programs.choose[(n,)](
                    correlations, gram, units, values, n_units, k, block=block, num_warps=warps, enable_fp_fusion=True
                )
        return units, values

    def add_gradient(
        self, totals: Tensor, units: Tensor, values: Tensor, residual: Tensor, gradient: Tensor, atoms: Tensor
    ) -> None:
        """Do :func:`pursuit_operations.add_gradient`; rows are added in any order."""
        n, width = residual.shape
        if n:
            block, warps = _block(width, GRADIENT_ENTRIES)
            with launching(residual):
                self.programs.add_gradient[(n,)](
                    totals, units, values, residual, gradient, atoms, width, units.shape[1],
                    block=block, num_warps=warps, enable_fp_fusion=True,
                )  # fmt: skip


def _block(length: int, entries: int) -> tuple[int, int]:
    """Return the next power of 2 and the number of warps."""
    block = 1 << (length - 1).bit_length()
    return block, min(MOST_WARPS, max(1, block // entries))


def fused_here(row: Tensor) -> bool:
    """Return whether the kernels are made for rows (n, length) like this one."""
    return row.device.type == "cuda" and row.dtype == torch.float32 and row.shape[1] <= LONGEST_ROW


@torch.library.custom_op(
    "matching_pursuit::choose",
    mutates_args=(),
    schema="(Tensor correlations, Tensor gram, int k) -> (Tensor, Tensor)",
)
def choose(correlations: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return :func:`pursuit_operations.choose_by_gram`; correlations are left as they are."""
    compiled = _choosing(correlations.device, correlations.shape[1])
    if compiled is None:
        return pursuit_operations.choose_by_gram(correlations.clone(), gram, k)
    return compiled.choose(correlations.contiguous(), gram.contiguous(), k)


@choose.register_fake
def _(correlations: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape = len(correlations), k
    return correlations.new_empty(shape, dtype=torch.int64), correlations.new_empty(shape)


@torch.library.custom_op(
    "matching_pursuit::add_gradient",
    mutates_args=("totals",),
    schema="(Tensor(a!) totals, Tensor units, Tensor values, Tensor residual, Tensor gradient, Tensor atoms) -> ()",
)
def add_gradient(
    totals: Tensor, units: Tensor, values: Tensor, residual: Tensor, gradient: Tensor, atoms: Tensor
) -> None:
    """Do :func:`pursuit_operations.add_gradient`; totals must be contiguous."""
    compiled = _adding(residual.device, residual.shape[1])
    arguments = [part.contiguous() for part in (units, values, residual, gradient, atoms)]
    (pursuit_operations if compiled is None else compiled).add_gradient(totals, *arguments)


@add_gradient.register_fake
def _(totals: Tensor, units: Tensor, values: Tensor, residual: Tensor, gradient: Tensor, atoms: Tensor) -> None: ...


# ---- trials, for each length of row: registers and threads depend on it


@functools.cache
def _choosing(device: torch.device, n_units: int) -> Kernels | None:
    return working(_load, lambda kernels: {"choose": _chooses(kernels, device, n_units)}, _INSTEAD)


@functools.cache
def _adding(device: torch.device, width: int) -> Kernels | None:
    return working(_load, lambda kernels: {"add_gradient": _adds(kernels, device, width)}, _INSTEAD)


_INSTEAD = "matching pursuit is computed with PyTorch's operations"


def _load() -> Kernels:
    return Kernels(importlib.import_module("methods.sae.pursuit_programs"))


def _chooses(kernels: Kernels, device: torch.device, n_units: int) -> bool:
    """Try rows of whole numbers: two equal maxima, a NaN, negative and infinite ones."""
    rows = torch.tensor(
        [[3.0, 5.0, 5.0, 1.0], [2.0, torch.nan, 7.0, torch.nan], [-4.0, -1.0, -2.0, -3.0], [1.0, 2.0, torch.inf, 0.0]]
    )
    # The first four units have the largest correlations throughout: only their rows of the Gram matrix occur.
    correlations = torch.full((4, max(n_units, 4)), -100.0)
    correlations[:, :4] = rows
    gram = torch.zeros(4, max(n_units, 4))
    gram[:, :4] = torch.tensor([[2.0, 1, 0, -1], [1, 2, 1, 0], [0, 1, 2, 1], [-1, 0, 1, 2]])
    correlations, gram = correlations[:, :n_units].to(device), gram[:, :n_units].contiguous().to(device)
    units, values = kernels.choose(correlations.contiguous(), gram, 4)
    right_units, right_values = pursuit_operations.choose_by_gram(correlations.clone(), gram, 4)
    return torch.equal(units, right_units) and torch.allclose(values, right_values, rtol=0, atol=0, equal_nan=True)


def _adds(kernels: Kernels, device: torch.device, width: int) -> bool:
    """Try rows of small whole numbers, whose sums are exact in any order."""
    numbers = torch.arange(6 * width, device=device).reshape(6, width)
    residual, gradient = ((numbers * factor % 5 - 2)[:3].float() for factor in (1, 3))
    # Atoms of few entries, so that sums of products of products stay below 2^24.
    atoms = torch.where(numbers % width < 3, numbers % 3 - 1, 0)[:4].float()
    units = torch.tensor([[0, 1], [1, 1], [3, 0]], device=device)
    values = torch.tensor([[2.0, -1.0], [1.0, 3.0], [0.0, 1.0]], device=device)
    totals, right = torch.ones_like(atoms), torch.ones_like(atoms)
    kernels.add_gradient(totals, units, values, residual, gradient, atoms)
    pursuit_operations.add_gradient(right, units, values, residual, gradient, atoms)
    return torch.equal(totals, right)
