"""Compiled kernels for dense codes on the CPU: passes over (n, n_units) matrices that do several things at once.

Beside the products of a step, its time is that of reading and writing matrices of this size. All kernels loop over
rows in parallel and add in a fixed order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from methods.compiled_loops import parallel
from methods.training.kernels import FAST, LANES, RANGES, STRICT, Array, row_sum


@parallel(STRICT)
def rectify(products: Array, bias: Array, totals: Array, counts: Array) -> None:
    """Write ``relu(products + bias)`` in place of products (n, n_units), for bias (n_units,); NaN stays NaN.

    totals (n,) are the sums of the rows. counts (RANGES, n_units), initially zeros, are the numbers of entries that are
    not zero in each column, one for each range of rows.
    """
    n, n_units = products.shape
    for part in prange(RANGES):
        count, zero = counts[part], products.dtype.type(0)
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            row = products[s]
            for f in range(n_units):
                pre = row[f] + bias[f]
                value = zero if pre < 0 else pre
                row[f] = value
                count[f] += np.int32(1) if value != 0 else np.int32(0)
            totals[s] = row_sum(row)


@parallel(STRICT)
def keep_from(pre: Array, threshold: Array, totals: Array, counts: Array) -> None:
    """Set the entries of each row of pre (n, n_units) to zero that are not above 0 or are below threshold (n,).

    NaN stays NaN. totals and counts as in :func:`rectify`.
    """
    n, n_units = pre.shape
    for part in prange(RANGES):
        count, zero = counts[part], pre.dtype.type(0)
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            row, least = pre[s], threshold[s]
            for f in range(n_units):
                value = zero if row[f] < least or row[f] <= 0 else row[f]
                row[f] = value
                count[f] += np.int32(1) if value != 0 else np.int32(0)
            totals[s] = row_sum(row)


@parallel(STRICT)
def keep_active(codes: Array, slope: Array, of_total: float, totals: Array) -> None:
    """Write the gradient at the pre-codes in place of slope, the gradient at the codes (n, n_units).

    It is ``slope + of_total`` where codes is not 0, else 0. totals (RANGES, n_units), initially zeros, are the sums of
    its columns, one for each range of rows.
    """
    n, n_units = codes.shape
    for part in prange(RANGES):
        total, zero, constant = totals[part], slope.dtype.type(0), slope.dtype.type(of_total)
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for f in range(n_units):
                value = slope[s, f] + constant if codes[s, f] != 0 else zero
                slope[s, f] = value
                total[f] += value


@parallel(STRICT)
def differences(left: Array, bias: Array, right: Array, out: Array, totals: Array) -> None:
    """Write ``left + bias - right`` into out, and the sums of the squares of its rows into totals (n,).

    left, right and out are (n, d), bias is (d,).
    """
    n, d = left.shape
    for s in prange(n):
        one, other, row = left[s], right[s], out[s]
        squares = np.zeros(LANES, row.dtype)
        whole = d - d % LANES
        for first in range(0, whole, LANES):
            for lane in range(LANES):
                j = first + lane
                value = one[j] + bias[j] - other[j]
                row[j] = value
                squares[lane] += value * value
        total = squares[0]
        for lane in range(1, LANES):
            total += squares[lane]
        for j in range(whole, d):
            value = one[j] + bias[j] - other[j]
            row[j] = value
            total += value * value
        totals[s] = total


@parallel(STRICT)
def scaled(rows: Array, factor: float, out: Array, totals: Array) -> None:
    """Write ``factor * rows`` (n, d) into out, and the sums of its columns into totals (RANGES, d), initially zeros."""
    n, d = rows.shape
    for part in prange(RANGES):
        total, constant = totals[part], out.dtype.type(factor)
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for j in range(d):
                value = constant * rows[s, j]
                out[s, j] = value
                total[j] += value


@parallel(STRICT)
def to_shares(rows: Array) -> None:
    """Set negative entries of rows (n, m) to zero and divide each row by its sum plus 1e-8; NaN stays NaN."""
    n, m = rows.shape
    for s in prange(n):
        row, zero = rows[s], rows.dtype.type(0)
        for f in range(m):
            row[f] = zero if row[f] < 0 else row[f]
        total = row_sum(row) + rows.dtype.type(1e-8)
        for f in range(m):
            row[f] /= total


@parallel(FAST)
def column_counts(codes: Array, totals: Array) -> None:
    """Count nonzero entries per column of codes (n, n_units), one sum per range, into totals (RANGES, n_units) of 0."""
    n, n_units = codes.shape
    for part in prange(RANGES):
        total = totals[part]
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for f in range(n_units):
                total[f] += 1 if codes[s, f] != 0 else 0


@parallel(FAST)
def jump_forward(pre: Array, thresholds: Array, codes: Array, counts: Array) -> None:
    """Write codes (n, n_units) = pre if pre > thresholds (n_units,), else 0; counts (n,) are the active per row."""
    n, n_units = pre.shape
    for s in prange(n):
        n_active = 0
        for f in range(n_units):
            active = pre[s, f] > thresholds[f]
            codes[s, f] = pre[s, f] if active else 0
            n_active += 1 if active else 0
        counts[s] = n_active


@parallel(FAST)
def jump_backward(
    pre: Array, thresholds: Array, of_codes: Array, of_count: float, bandwidth: float, slope: Array, totals: Array
) -> None:
    """Write straight-through gradients of :func:`jump_forward`: of pre into slope, of thresholds into totals.

    of_codes (n, n_units) is the loss's gradient at the codes, of_count that at the number of active entries; totals
    (RANGES, n_units), initially zeros, holds one sum for each range of rows.
    """
    n, n_units = pre.shape
    half = bandwidth / 2
    for part in prange(RANGES):
        total = totals[part]
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for f in range(n_units):
                distance = pre[s, f] - thresholds[f]
                gradient = of_codes[s, f]
                slope[s, f] = gradient if distance > 0 else 0
                near = thresholds[f] * gradient + of_count
                total[f] -= near if abs(distance) <= half else 0
        for f in range(n_units):
            total[f] /= bandwidth
