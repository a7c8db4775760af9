"""Programs in Triton of :mod:`methods.elude.fused`, which describes their arguments.

With the environment variable ``TRITON_INTERPRET=1`` set before this module is imported, they run on a CPU.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["first_row", "first_column", "n_rows"])
def keep_near(
    dots,
    norms,
    limits,
    counts,
    values,
    points,
    first_row,
    first_column,
    n_rows,
    n_columns,
    capacity,
    both: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    """Add the entries of a block of a tile to the lists of their row's point and, if ``both``, of their column's."""
    row = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    row_inside, column_inside = row < n_rows, column < n_columns
    inside = row_inside[:, None] & column_inside[None, :]
    at = row.to(tl.int64)[:, None] * n_columns + column[None, :]
    dot = tl.load(dots + at, mask=inside, other=0.0)
    row_point, column_point = first_row + row, first_column + column
    row_norm = tl.load(norms + row_point, mask=row_inside, other=0.0)
    column_norm = tl.load(norms + column_point, mask=column_inside, other=0.0)
    square = tl.maximum(row_norm[:, None] + column_norm[None, :] - 2.0 * dot, 0.0)
    # The same shape for all pointers and values of one operation.
    row_points = row_point[:, None] + tl.zeros_like(column)[None, :]
    column_points = column_point[None, :] + tl.zeros_like(row)[:, None]
    square = tl.where(row_points == column_points, 0.0, square)
    row_limit = tl.load(limits + row_point, mask=row_inside, other=-1.0)
    near = inside & (square <= row_limit[:, None])
    slot = tl.atomic_add(counts + row_points, 1, mask=near)
    kept = near & (slot < capacity)
    at = row_points.to(tl.int64) * capacity + slot
    tl.store(values + at, square, mask=kept)
    tl.store(points + at, column_points, mask=kept)
    if both:
        column_limit = tl.load(limits + column_point, mask=column_inside, other=-1.0)
        near = inside & (square <= column_limit[None, :])
        slot = tl.atomic_add(counts + column_points, 1, mask=near)
        kept = near & (slot < capacity)
        at = column_points.to(tl.int64) * capacity + slot
        tl.store(values + at, square, mask=kept)
        tl.store(points + at, row_points, mask=kept)


@triton.jit(do_not_specialize=["n_rows"])
def least_by_component(
    dots,
    row_norms,
    row_components,
    column_norms,
    column_cores,
    column_components,
    table,
    n_rows,
    n_columns,
    width,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    """Lower a table's entries, int32 bits of float32, to the least weights of a block of a tile."""
    row = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    row_inside, column_inside = row < n_rows, column < n_columns
    inside = row_inside[:, None] & column_inside[None, :]
    row_component = tl.load(row_components + row, mask=row_inside, other=-1)
    column_component = tl.load(column_components + column, mask=column_inside, other=-1)
    other = inside & (row_component[:, None] != column_component[None, :])
    at = row.to(tl.int64)[:, None] * n_columns + column[None, :]
    dot = tl.load(dots + at, mask=other, other=0.0)
    row_norm = tl.load(row_norms + row, mask=row_inside, other=0.0)
    column_norm = tl.load(column_norms + column, mask=column_inside, other=0.0)
    core = tl.load(column_cores + column, mask=column_inside, other=0.0)
    square = tl.maximum(row_norm[:, None] + column_norm[None, :] - 2.0 * dot, 0.0)
    weight = tl.where(other, tl.maximum(square, core[None, :]), float("inf"))
    last = tl.max(column_component, axis=0)
    first = tl.min(tl.where(column_inside, column_component, last), axis=0)
    row_at = row.to(tl.int64) * width
    if first == last:
        least = tl.min(weight, axis=1)
        tl.atomic_min(table + row_at + first, least.to(tl.int32, bitcast=True), mask=least < float("inf"))
    else:
        at = row_at[:, None] + column_component[None, :]
        tl.atomic_min(table + at, weight.to(tl.int32, bitcast=True), mask=other)


@triton.jit(do_not_specialize=["n_pairs"])
def exact_squares(x, left, right, out, n_pairs, width: tl.constexpr, pairs_at_once: tl.constexpr, chunk: tl.constexpr):
    """Write the squared distances of a few pairs of rows."""
    pair = tl.program_id(0).to(tl.int64) * pairs_at_once + tl.arange(0, pairs_at_once)
    inside = pair < n_pairs
    left_at = tl.load(left + pair, mask=inside, other=0) * width
    right_at = tl.load(right + pair, mask=inside, other=0) * width
    total = tl.zeros((pairs_at_once, chunk), dtype=tl.float64)
    for start in range(0, width, chunk):
        column = start + tl.arange(0, chunk)
        read = inside[:, None] & (column < width)[None, :]
        one = tl.load(x + left_at[:, None] + column[None, :], mask=read, other=0.0).to(tl.float64)
        other = tl.load(x + right_at[:, None] + column[None, :], mask=read, other=0.0).to(tl.float64)
        total += (one - other) * (one - other)
    tl.store(out + pair, tl.sum(total, axis=1), mask=inside)
