"""Compiled kernels for codes that are mostly zero, on the CPU.

At expansion factor 8 and 20 active units of 3072, a dense decoder multiplies 99.3 % zeros. These kernels touch active
entries only. All of them loop over rows in parallel, write each row once and add in a fixed order, so results do not
depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from methods.compiled_loops import parallel

# Shapes and types are in each docstring; numba compiles for the types it is given.
Array = NDArray[Any]

#: Optimisations that the compiler may use: sums may be reordered (needed to vectorise them); infinities stay exact.
FAST = {"reassoc", "contract", "nsz", "nnan"}

#: The same for kernels in which an index or a length depends on a comparison: NaN, which a too high learning rate
#: produces before it is noticed, must compare the same way everywhere.
EXACT = {"reassoc", "contract", "nsz"}

#: Number of columns that are tested together: two cache lines of float32, a few vector instructions.
BLOCK = 32

#: Number of partial sums of a dot product whose order of additions is fixed: one cache line of float32.
LANES = 16

#: Without reordered sums. Of a kernel that reorders them, numba may run other machine code in the process that compiles
#: it than in later ones, which load it from the cache; a resumed training would then differ in the last digits.
ORDERED = FAST - {"reassoc"}

#: Number of ranges into which the rows of the parallel backward pass are split, for any number of threads.
RANGES = 8


@parallel(FAST)
def largest(pre: Array, k: int, units: Array, values: Array) -> None:
    """Write the k largest entries of each row of pre (n, n_units): columns to units, entries to values, (n, k) each.

    The kernel keeps a min-heap of k entries per row; a block of columns whose largest entry is below the heap's
    smallest is skipped. The order within a row is that of the heap.
    """
    n, n_units = pre.shape
    for s in prange(n):
        row, heap, column = pre[s], values[s], units[s]
        for j in range(k):
            heap[j] = row[j]
            column[j] = j
        for start in range(k // 2 - 1, -1, -1):
            _sift(heap, column, start, k, row[start], start)
        for left in range(k, n_units, BLOCK):
            right = min(left + BLOCK, n_units)
            top = row[left]
            for f in range(left, right):
                top = row[f] if row[f] > top else top
            if top > heap[0]:
                for f in range(left, right):
                    if row[f] > heap[0]:
                        _sift(heap, column, 0, k, row[f], f)


@njit(fastmath=FAST, cache=True)
def _sift(heap: Array, column: Array, node: int, k: int, value: float, f: int) -> None:
    """Put (value, f) at ``node`` of a min-heap (k,) and sift it down."""
    while True:
        child = 2 * node + 1
        if child >= k:
            break
        if child + 1 < k and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[node] = heap[child]
        column[node] = column[child]
        node = child
    heap[node] = value
    column[node] = f


@parallel(EXACT)
def kth_largest(pre: Array, k: int, threshold: Array) -> None:
    """Write the k-th largest non-negative entry of each row of pre (n, n_units) into threshold (n,); 0 if fewer.

    For a row that contains infinity it is infinity; NaN is ignored. Two histogram passes narrow the search down to a
    bin of a few entries, whose k-th is then found by insertion: for large k this is several times faster than a heap.
    """
    n, n_units = pre.shape
    bins = 512
    for s in prange(n):
        row = pre[s]
        threshold[s] = 0
        top = threshold[s]
        for f in range(n_units):
            top = row[f] if row[f] > top else top
        if not 0 < top < np.inf:
            threshold[s] = top
            continue
        counts = np.zeros(bins + 1, dtype=np.int64)
        scale = bins / top
        for f in range(n_units):
            if row[f] > 0:
                counts[min(int(row[f] * scale), bins)] += 1
        above = 0
        chosen = bins
        while chosen >= 0 and above + counts[chosen] < k:
            above += counts[chosen]
            chosen -= 1
        if chosen < 0:
            continue
        descending = np.empty(counts[chosen], dtype=row.dtype)
        size = 0
        for f in range(n_units):
            if row[f] > 0 and min(int(row[f] * scale), bins) == chosen:
                slot = size
                while slot > 0 and descending[slot - 1] < row[f]:
                    descending[slot] = descending[slot - 1]
                    slot -= 1
                descending[slot] = row[f]
                size += 1
        threshold[s] = descending[k - above - 1]


@parallel(FAST)
def column_counts(codes: Array, totals: Array) -> None:
    """Count nonzero entries per column of codes (n, n_units), one sum per range, into totals (RANGES, n_units) of 0."""
    n, n_units = codes.shape
    for part in prange(RANGES):
        total = totals[part]
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for f in range(n_units):
                total[f] += 1 if codes[s, f] != 0 else 0


@parallel(EXACT)
def count_from(pre: Array, floor: Array, counts: Array) -> None:
    """Count the entries of each row of pre (n, n_units) that are >= floor (n_units,), into counts (n,)."""
    n, n_units = pre.shape
    for s in prange(n):
        row = pre[s]
        n_active = 0
        for f in range(n_units):
            n_active += 1 if row[f] >= floor[f] else 0
        counts[s] = n_active


@parallel(EXACT)
def fill_from(pre: Array, floor: Array, offsets: Array, units: Array, values: Array) -> None:
    """Write columns and entries of pre (n, n_units) >= floor (n_units,), row s at offsets[s] to offsets[s + 1]."""
    n, n_units = pre.shape
    for s in prange(n):
        row = pre[s]
        position = offsets[s]
        for left in range(0, n_units, BLOCK):
            right = min(left + BLOCK, n_units)
            n_active = 0
            for f in range(left, right):
                n_active += 1 if row[f] >= floor[f] else 0
            if n_active:
                for f in range(left, right):
                    if row[f] >= floor[f]:
                        units[position] = f
                        values[position] = row[f]
                        position += 1


@parallel(FAST)
def weighted_rows(columns: Array, offsets: Array, weights: Array, table: Array, out: Array) -> None:
    """Write out[s] = sum over e in offsets[s] .. offsets[s + 1] of weights[e] * table[columns[e]]; out (n, d)."""
    n, d = out.shape
    for s in prange(n):
        total = out[s]
        for j in range(d):
            total[j] = 0
        for e in range(offsets[s], offsets[s + 1]):
            weight = weights[e]
            row = table[columns[e]]
            for j in range(d):
                total[j] += weight * row[j]


@parallel(FAST)
def row_products(columns: Array, offsets: Array, left: Array, table: Array, out: Array) -> None:
    """Write out[e] = <left[s], table[columns[e]]> for e in offsets[s] .. offsets[s + 1]; out (n_entries,)."""
    n, d = left.shape
    for s in prange(n):
        one = left[s]
        for e in range(offsets[s], offsets[s + 1]):
            row = table[columns[e]]
            total = one[0] * row[0]
            for j in range(1, d):
                total += one[j] * row[j]
            out[e] = total


@parallel(FAST)
def pursue(correlations: Array, gram: Array, k: int, units: Array, values: Array) -> None:
    """Run matching pursuit from correlations (n, n_units) = x @ D.T and gram (n_units, n_units) = D @ D.T.

    Each of k times: the unit of the largest correlation (of equals the lowest) with that correlation as its step, into
    units and values (n, k); then ``correlations -= step * gram[unit]``, which gives the correlations of the next
    residual. correlations is overwritten.
    """
    n, n_units = correlations.shape
    for s in prange(n):
        row = correlations[s]
        best = 0
        for f in range(1, n_units):
            if row[f] > row[best]:
                best = f
        for i in range(k):
            step = row[best]
            units[s, i] = best
            values[s, i] = step
            other = gram[best]
            block = 0
            highest = row[0] - step * other[0]
            for left in range(0, n_units, 2 * BLOCK):
                right = min(left + 2 * BLOCK, n_units)
                row[left] -= step * other[left]
                top = row[left]
                for f in range(left + 1, right):
                    value = row[f] - step * other[f]
                    row[f] = value
                    top = value if value > top else top
                if left == 0 or top > highest:
                    highest = top
                    block = left
            best = block
            for f in range(block + 1, min(block + 2 * BLOCK, n_units)):
                if row[f] > row[best]:
                    best = f


@parallel(ORDERED)
def pursue_backward(units: Array, values: Array, residual: Array, gradient: Array, atoms: Array, totals: Array) -> None:
    """Add the gradient of the atoms through the k steps ``r <- r - <r, d> d`` of each row, backwards, to totals.

    units, values (n, k); residual, gradient (n, d): the last residual and the loss's gradient there;
    atoms (n_units, d); totals (RANGES, n_units, d), initially zeros: one sum for each range of rows, added up by the
    caller.
    """
    n, k = units.shape
    d = residual.shape[1]
    for part in prange(RANGES):
        total = totals[part]
        here = np.empty(d, dtype=residual.dtype)
        slope = np.empty(d, dtype=residual.dtype)
        lanes = np.empty(LANES, dtype=residual.dtype)
        whole = d - d % LANES
        for s in range(part * n // RANGES, (part + 1) * n // RANGES):
            for j in range(d):
                here[j] = residual[s, j]
                slope[j] = gradient[s, j]
            for back in range(k):
                i = k - 1 - back
                step = values[s, i]
                atom = atoms[units[s, i]]
                out = total[units[s, i]]
                for lane in range(LANES):
                    lanes[lane] = 0
                for j in range(0, whole, LANES):
                    for lane in range(LANES):
                        lanes[lane] += slope[j + lane] * atom[j + lane]
                along = lanes[0]
                for lane in range(1, LANES):
                    along += lanes[lane]
                for j in range(whole, d):
                    along += slope[j] * atom[j]
                for j in range(d):
                    here[j] += step * atom[j]
                    out[j] -= step * slope[j] + along * here[j]
                    slope[j] -= along * atom[j]


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
