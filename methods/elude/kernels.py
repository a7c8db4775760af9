"""Compiled row kernels of the in-memory spanning tree.

Every kernel works on a range of rows, holds no lock and keeps no state between rows, so row ranges may be distributed
over any number of threads with bit-identical results. Distances are squared throughout: the square root is monotone and
is needed only for the tree's n - 1 edges.

A squared distance is computed in two ways. `squares[i, j]` is the float32 result of a matrix product, within `slack[i]`
of the true value. `exact_square` is the float64 sum of squared differences; it costs d operations and is computed only
if `slack` leaves a decision open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Shapes and types are in each docstring; numba compiles for the types it is given.
Array = NDArray[Any]
Scalar = Any

# Two float64 sums of the same pair may differ in the last bits if they were added in another order (another device);
# a distance this close to a core distance *is* the core distance.
SAME = 1.0 + 2.0**-40
# 32 cells of 4 bytes are two cache lines: a 32 x 32 tile and its mirror image stay in the first-level cache.
TILE = 32


@njit(cache=True, nogil=True)
def exact_square(x: Array, i: int, j: int) -> float:
    """Return the squared distance of rows i and j of x (n, d) in float64: the same bits for (j, i), 0 for equal rows.

    Eight running sums are added in a fixed order: this is fast because it vectorises, and reproducible because no
    reassociation is allowed.
    """
    d = x.shape[1]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = d - d % 8
    for c in range(0, whole, 8):
        e0 = np.float64(x[i, c]) - np.float64(x[j, c])
        e1 = np.float64(x[i, c + 1]) - np.float64(x[j, c + 1])
        e2 = np.float64(x[i, c + 2]) - np.float64(x[j, c + 2])
        e3 = np.float64(x[i, c + 3]) - np.float64(x[j, c + 3])
        e4 = np.float64(x[i, c + 4]) - np.float64(x[j, c + 4])
        e5 = np.float64(x[i, c + 5]) - np.float64(x[j, c + 5])
        e6 = np.float64(x[i, c + 6]) - np.float64(x[j, c + 6])
        e7 = np.float64(x[i, c + 7]) - np.float64(x[j, c + 7])
        s0 += e0 * e0
        s1 += e1 * e1
        s2 += e2 * e2
        s3 += e3 * e3
        s4 += e4 * e4
        s5 += e5 * e5
        s6 += e6 * e6
        s7 += e7 * e7
    for c in range(whole, d):
        e0 = np.float64(x[i, c]) - np.float64(x[j, c])
        s0 += e0 * e0
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@njit(cache=True, nogil=True)
def fill_squares(products: Array, norms: Array, start: int, stop: int) -> None:
    """Turn the lower triangle of inner products (n, n), rows start to stop, into squared distances in both triangles.

    `norms` (n,) are the squared lengths. Negative rounding errors are clipped to zero, and the diagonal is exactly
    zero: both make the bit pattern of every entry increase with its value, as `cheapest_outside` requires.
    """
    zero = np.float32(0.0)
    for top in range(start, stop, TILE):
        bottom = min(top + TILE, stop)
        for left in range(0, bottom, TILE):
            for i in range(top, bottom):
                for j in range(left, min(left + TILE, i)):
                    products[i, j] = max(norms[i] + norms[j] - np.float32(2.0) * products[i, j], zero)
            for j in range(left, min(left + TILE, bottom)):
                for i in range(max(top, j + 1), bottom):
                    products[j, i] = products[i, j]
        for i in range(top, bottom):
            products[i, i] = zero


@njit(cache=True, nogil=True)
def kth_smallest(values: Array, count: int, k: int) -> Scalar:
    """Return the k-th smallest (k = 0 is the minimum) of values[:count]; reorder them (Hoare's selection)."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@njit(cache=True, nogil=True)
def collect_below(row: Array, limit: Scalar, values: Array, columns: Array) -> int:
    """Write the entries of row at most limit, and their columns, to the front of the buffers; return their number."""
    count = 0
    for j in range(row.shape[0]):
        # Write unconditionally, then advance: a branch would be unpredictable for the CPU.
        values[count] = row[j]
        columns[count] = j
        count += row[j] <= limit
    return count


@njit(cache=True, nogil=True)
def count_below(row: Array, limit: Scalar) -> Scalar:
    """Return the number of entries of row that are at most limit; compiles to one vector instruction per register."""
    count = np.int32(0)
    for j in range(row.shape[0]):
        count += np.int32(row[j] <= limit)
    return count


@njit(cache=True, nogil=True)
def narrow_limit(row: Array, k: int, limit: Scalar) -> Scalar:
    """Return a limit with at least k + 1, and not many more, entries of row below it, by bisection from a first guess.

    Counting is an order of magnitude cheaper than collecting, so several guesses cost less than one long list.
    """
    low, high = np.float32(0.0), np.float32(np.inf)
    for _ in range(40):
        count = count_below(row, limit)
        if count > k:
            high = limit
            if count <= 2 * k + 16:
                break
        else:
            low = limit
        if high == np.inf:
            limit = limit * np.float32(1.25) + np.float32(1e-30)
        elif low == 0.0:
            limit = limit * np.float32(0.8)
        else:
            limit = np.float32(0.5) * (low + high)
        if limit in (low, high):
            break
    return high


@njit(cache=True, nogil=True)
def core_squares(squares: Array, x: Array, slack: Array, k: int, start: int, stop: int, out: Array) -> None:
    """Write squared core distances of rows start to stop, the k-th smallest entry of each row, into out (n,) float64.

    The point itself is entry 0, so k = min_samples counts other points, as hdbscan does. An order statistic changes by
    no more than its entries do. So the true one is within `slack` of the float32 one, and only entries within twice
    that need the exact distance.
    """
    n = squares.shape[0]
    values = np.empty(n + 1, np.float32)
    columns = np.empty(n + 1, np.int32)
    scratch = np.empty(n + 1, np.float32)
    band = np.empty(n, np.float64)
    # Neighbouring rows come from neighbouring tokens: the limit of one row is a good first guess for the next.
    limit = squares[start].mean()
    for i in range(start, stop):
        row = squares[i]
        limit = narrow_limit(row, k, limit)
        count = collect_below(row, limit, values, columns)
        for c in range(count):
            scratch[c] = values[c]
        near = np.float64(kth_smallest(scratch, count, k))
        low, high = near - 2.0 * slack[i], near + 2.0 * slack[i]
        if high > limit:
            # At least any float32 that is not greater than `high`, whichever way the conversion rounds.
            count = collect_below(row, np.float32(high * (1.0 + 1e-6)), values, columns)
        below = in_band = 0
        for c in range(count):
            if values[c] < low:
                below += 1
            elif values[c] <= high:
                band[in_band] = exact_square(x, i, columns[c])
                in_band += 1
        out[i] = kth_smallest(band, in_band, k - below)
        if limit == np.inf:
            limit = np.float32(near)


@njit(cache=True, nogil=True)
def first_edges(squares: Array, x: Array, slack: Array, core: Array, start: int, stop: int, out: Array) -> None:
    """Write the lowest point no less dense and within the core distance, or -1, for rows start to stop, into out (n,).

    The edge to that point weighs exactly the row's core distance, and no edge from this row can weigh less.
    """
    n = squares.shape[0]
    for i in range(start, stop):
        row = squares[i]
        core_i = core[i]
        sure, possible = core_i - slack[i], core_i + slack[i]
        out[i] = -1
        for j in range(n):
            if row[j] > possible or core[j] > core_i or j == i:
                continue
            if row[j] < sure or exact_square(x, i, j) <= core_i * SAME:
                out[i] = j
                break


@njit(cache=True, nogil=True)
def tied_edges(squares: Array, x: Array, slack: Array, core: Array, points: Array) -> Array:
    """Return all edges (2, t) int64 from points (m,) to points no less dense and within their core distance."""
    n = squares.shape[0]
    edges = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for i in points:
        core_i = core[i]
        sure, possible = core_i - slack[i], core_i + slack[i]
        for j in range(n):
            if squares[i, j] > possible or core[j] > core_i or j == i:
                continue
            if squares[i, j] < sure or exact_square(x, i, j) <= core_i * SAME:
                edges.append((i, np.int64(j)))
    out = np.empty((2, len(edges)), np.int64)
    for e in range(len(edges)):
        out[0, e], out[1, e] = edges[e]
    return out


@njit(cache=True, nogil=True)
def smallest_entries(squares: Array, width: int, start: int, stop: int, values: Array, columns: Array) -> None:
    """Write the smallest entries of rows start to stop of squares (b, n), ascending, and columns: (b, width) each.

    Same as `topk`, but several times faster on a CPU, because distances of neighbouring rows have the same scale.
    """
    n = squares.shape[1]
    near, where = np.empty(n + 1, np.float32), np.empty(n + 1, np.int32)
    limit = squares[start].mean()
    for i in range(start, stop):
        limit = narrow_limit(squares[i], width - 1, limit)
        count = collect_below(squares[i], limit, near, where)
        order = np.argsort(near[:count])
        for c in range(width):
            values[i, c] = near[order[c]]
            columns[i, c] = where[order[c]]
        if limit == np.inf:
            limit = values[i, width - 1]


@njit(cache=True, nogil=True)
def cheapest_outside(bits: Array, core_bits: Array, component: Array, start: int, stop: int, out: Array) -> None:
    """Write the bits of each row's least max(squared distance, core of the other end) to another component to out (n,).

    Non-negative floats order as their bit patterns do; a minimum of integers vectorises without relaxing float rules.
    """
    n = bits.shape[0]
    far = np.int32(0x7F800000)
    for i in range(start, stop):
        component_i = component[i]
        least = far
        for j in range(n):
            weight = max(bits[i, j], core_bits[j])
            weight = far if component[j] == component_i else weight
            least = min(least, weight)
        out[i] = least


@njit(cache=True, nogil=True)
def exact_outside(
    squares: Array,
    x: Array,
    slack: Array,
    core: Array,
    component: Array,
    rows: Array,
    weight: Array,
    low: Array,
    high: Array,
) -> None:
    """Lower each component's cheapest outgoing edge (weight, low end, high end) if the given rows have a cheaper one.

    `weight` (c,) float64 squared, `low` and `high` (c,) int64 are changed in place; the order is (weight, low, high).
    """
    n = squares.shape[0]
    for r in range(rows.shape[0]):
        i = rows[r]
        group = component[i]
        for j in range(n):
            if component[j] == group:
                continue
            base = max(core[i], core[j])
            if base > weight[group] or squares[i, j] - slack[i] > weight[group]:
                continue
            w = base
            if squares[i, j] + slack[i] > base:
                square = exact_square(x, i, j)
                if square > base * SAME:
                    w = square
            a, b = min(i, j), max(i, j)
            if w < weight[group] or (w == weight[group] and (a < low[group] or (a == low[group] and b < high[group]))):
                weight[group], low[group], high[group] = w, a, b
