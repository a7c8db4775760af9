"""Programs in Triton of :mod:`methods.sae.fused_pursuit`, which describes their arguments. Each computes one row.

With the environment variable ``TRITON_INTERPRET=1`` set before this module is imported, they run on a CPU.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def first_largest(row, unit, block: tl.constexpr):
    """Return the unit and the value of a row's largest entry.

    As in ``torch.max`` it is the first NaN, or else the first of equals. Triton's maximum does not say whether there is
    a NaN. Therefore a NaN's rank is its unit, the rank of a largest entry is its unit plus the block, and the
    smallest rank is taken.
    """
    largest = tl.max(row, axis=0)
    ranks = tl.where(row != row, unit, tl.where(row == largest, unit + block, 2 * block))
    first = tl.min(ranks, axis=0)
    return first % block, tl.where(first < block, float("nan"), largest)


@triton.jit(do_not_specialize=["k"])
def choose(correlations, gram, units, values, n_units, k, block: tl.constexpr):
    """Write the k chosen units and their correlations; the row stays in registers from step to step."""
    row = tl.program_id(0).to(tl.int64)
    unit = tl.arange(0, block)
    inside = unit < n_units
    current = tl.load(correlations + row * n_units + unit, mask=inside, other=float("-inf"))
    chosen, value = first_largest(current, unit, block)
    at = row * k
    tl.store(units + at, chosen.to(tl.int64))
    tl.store(values + at, value)
    for step in range(1, k):
        other = tl.load(gram + chosen.to(tl.int64) * n_units + unit, mask=inside, other=0.0)
        # Not 0 * inf = NaN outside: a unit chosen there would lead to memory outside of the Gram matrix.
        current = tl.where(inside, current - value * other, float("-inf"))
        chosen, value = first_largest(current, unit, block)
        tl.store(units + at + step, chosen.to(tl.int64))
        tl.store(values + at + step, value)


@triton.jit(do_not_specialize=["k"])
def add_gradient(totals, units, values, residuals, slopes, atoms, width, k, block: tl.constexpr):
    """Add a row's gradient of the atoms to the totals, from its last step to its first."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < width
    residual = tl.load(residuals + row * width + column, mask=inside, other=0.0)
    slope = tl.load(slopes + row * width + column, mask=inside, other=0.0)
    for back in range(k):
        at = row * k + (k - 1 - back)
        value = tl.load(values + at)
        offsets = tl.load(units + at) * width + column
        atom = tl.load(atoms + offsets, mask=inside, other=0.0)
        along = tl.sum(slope * atom, axis=0)
        residual += value * atom
        tl.atomic_add(totals + offsets, -(value * slope + along * residual), mask=inside, sem="relaxed")
        slope -= along * atom
