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

#: Number of partial sums of a row whose order of additions is fixed: one cache line of float32.
LANES = 16

#: Without reordered sums. Of a kernel that reorders them, numba may run other machine code in the process that compiles
#: it than in later ones, which load it from the cache; a resumed training would then differ in the last digits.
ORDERED = FAST - {"reassoc"}
STRICT = EXACT - {"reassoc"}

#: Number of ranges into which the rows of the parallel backward pass are split, for any number of threads.
RANGES = 8


@njit(fastmath=EXACT, cache=True)
def _number_from(row: Array, floor: Any) -> Any:
    """Return the number of entries of row (n_units,) that are >= floor."""
    number = np.int32(0)
    for f in range(len(row)):
        number += np.int32(1) if row[f] >= floor else np.int32(0)
    return number


@njit(fastmath=EXACT, cache=True)
def _bounds(row: Array) -> tuple[Any, Any]:
    """Return the smallest and the largest entry of row (n_units,), apart from NaN."""
    # One pair per lane: a single running maximum is not vectorised where NaN must compare as it does.
    low, high = np.full(BLOCK, np.inf, row.dtype), np.full(BLOCK, -np.inf, row.dtype)
    n_units = len(row)
    whole = n_units - n_units % BLOCK
    for left in range(0, whole, BLOCK):
        for lane in range(BLOCK):
            value = row[left + lane]
            low[lane] = value if value < low[lane] else low[lane]
            high[lane] = value if value > high[lane] else high[lane]
    for f in range(whole, n_units):
        low[0] = row[f] if row[f] < low[0] else low[0]
        high[0] = row[f] if row[f] > high[0] else high[0]
    return low.min(), high.max()


@njit(fastmath=EXACT, cache=True)
def _cut(row: Array, k: int, low: Any, high: Any) -> Any:
    """Return a value from which on row (n_units,) has k entries, or if entries are equal to the k-th largest, that one.

    Bisection: each step counts the entries from the middle on, which is a fast pass over a row in the cache. The k-th
    largest entry is between low and high.
    """
    greatest = np.finfo(row.dtype).max
    if high > greatest:
        if _number_from(row, high) >= k:
            return high
        high = greatest
    if low < -greatest:
        if _number_from(row, -greatest) < k:
            return low
        low = -greatest
    half = row.dtype.type(0.5)
    while True:
        middle = half * low + half * high
        if not low < middle < high:
            break
        number = _number_from(row, middle)
        if number == k:
            return middle
        if number > k:
            low = middle
        else:
            high = middle
    return high if _number_from(row, high) >= k else low


@parallel(EXACT)
def largest(pre: Array, k: int, units: Array, values: Array) -> None:
    """Write the k largest entries of each row of pre (n, n_units): columns to units, entries to values, (n, k) each.

    Columns ascend; of equal entries the first columns are taken. A row with NaN may have fewer than k entries: its
    other slots are the first column with the value NaN.
    """
    n, n_units = pre.shape
    for s in prange(n):
        row = pre[s]
        candidates = np.empty(n_units + 1, np.int64)
        low, high = _bounds(row)
        least = _cut(row, k, low, high)
        size = 0
        for f in range(n_units):
            candidates[size] = f
            size += 1 if row[f] >= least else 0
        above = 0
        for i in range(size):
            above += 1 if row[candidates[i]] > least else 0
        equal = max(k - above, 0)
        position = 0
        for i in range(size):
            value = row[candidates[i]]
            if (value > least or equal > 0) and position < k:
                equal -= 0 if value > least else 1
                units[s, position] = candidates[i]
                values[s, position] = value
                position += 1
        for slot in range(position, k):
            units[s, slot] = 0
            values[s, slot] = np.nan


@parallel(EXACT)
def cuts(pre: Array, k: int, cut: Array) -> None:
    """Write into cut (n,) a value from which on each row of pre (n, n_units) has exactly k entries.

    If entries are equal to the k-th largest, it is that one, and the row may have more. It is 0 for a row with fewer
    than k positive entries. NaN is ignored.
    """
    n, n_units = pre.shape
    for s in prange(n):
        row = pre[s]
        positive = np.int32(0)
        for f in range(n_units):
            positive += np.int32(1) if row[f] > 0 else np.int32(0)
        zero = row.dtype.type(0)
        cut[s] = _cut(row, k, zero, _bounds(row)[1]) if positive >= k else zero


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
        # Without a branch, which would often be predicted wrongly: each column is written, and kept if it counts.
        columns = np.empty(n_units + 1, np.int64)
        size = 0
        for f in range(n_units):
            columns[size] = f
            size += 1 if row[f] >= floor[f] else 0
        first = offsets[s]
        for i in range(size):
            units[first + i] = columns[i]
            values[first + i] = row[columns[i]]


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


@parallel(EXACT)
def group_ends(units: Array, offsets: Array, sizes: Array, ends: Array) -> None:
    """Write the end of each group of the entries of each row, group i of row s to ends[s * m + i + 1].

    units and offsets are the entries by row, units ascending within a row; group i of m has the units below sizes[i]
    that no earlier group has.
    """
    n, m = len(offsets) - 1, len(sizes)
    for s in prange(n):
        position, stop = offsets[s], offsets[s + 1]
        for i in range(m):
            while position < stop and units[position] < sizes[i]:
                position += 1
            ends[s * m + i + 1] = position


@njit(fastmath=STRICT, cache=True)
def row_sum(row: Array) -> Any:
    """Return the sum of row (m,), added in a fixed order in which it is vectorised."""
    lanes = np.zeros(LANES, row.dtype)
    whole = len(row) - len(row) % LANES
    for left in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += row[left + lane]
    total = lanes[0]
    for lane in range(1, LANES):
        total += lanes[lane]
    for j in range(whole, len(row)):
        total += row[j]
    return total


@parallel(STRICT)
def nest(parts: Array, target: Array, errors: Array) -> None:
    """Write the squared errors of nested sums, and in place of the parts their gradients.

    For parts (n, m, d), target (n, d) and ``r_i = parts_1 + ... + parts_i - target``: errors (n,) is the sum of
    ``|r_i|^2`` over i, and part i becomes ``r_i + ... + r_m``, half of the gradient of errors at that part.
    """
    n, m, d = parts.shape
    for s in prange(n):
        part, one = parts[s], target[s]
        for j in range(d):
            part[0, j] -= one[j]
        for i in range(1, m):
            for j in range(d):
                part[i, j] += part[i - 1, j]
        squares = np.zeros(d, parts.dtype)
        for i in range(m):
            for j in range(d):
                squares[j] += part[i, j] * part[i, j]
        errors[s] = row_sum(squares)
        for back in range(1, m):
            i = m - 1 - back
            for j in range(d):
                part[i, j] += part[i + 1, j]
