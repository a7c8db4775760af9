"""Compiled kernels of matching pursuit on the CPU: each row of a batch is a search of its own."""

from __future__ import annotations

import numpy as np
from numba import prange

from methods.compiled_loops import parallel
from methods.training.kernels import BLOCK, FAST, LANES, ORDERED, RANGES, STRICT, Array


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


@parallel(STRICT)
def pursue_orthogonally(products: Array, gram: Array, k: int, sweeps: int, units: Array, values: Array) -> None:
    """Run orthogonal matching pursuit from products (n, n_units) = x @ D.T and gram (n_units, n_units) = D @ D.T.

    Each of k times: the unit of the largest correlation with the residual that is not yet chosen joins the others, and
    all their codes are refitted by coordinate descent under ``codes >= 0``, in as many sweeps as given. Units and codes
    go into units and values (n, k).
    """
    n, n_units = products.shape
    for s in prange(n):
        product, chosen, codes = products[s], units[s], values[s]
        zero = products.dtype.type(0)
        least = products.dtype.type(1e-12)
        row = product.copy()
        for i in range(k):
            if i:
                for f in range(n_units):
                    row[f] = product[f]
                for e in range(i):
                    code, other = codes[e], gram[chosen[e]]
                    if code != 0:
                        for f in range(n_units):
                            row[f] -= code * other[f]
                for e in range(i):
                    row[chosen[e]] = -np.inf
            best = 0
            for f in range(1, n_units):
                if row[f] > row[best]:
                    best = f
            chosen[i] = best
            codes[i] = zero
            for _ in range(sweeps if i else 1):
                for j in range(i + 1):
                    along = gram[chosen[j]]
                    rest = product[chosen[j]]
                    for e in range(i + 1):
                        rest -= along[chosen[e]] * codes[e] if e != j else zero
                    length = along[chosen[j]]
                    code = rest / (length if length > least else least)
                    codes[j] = zero if code < 0 else code
