"""Compiled kernels: the process that compiles them computes the same bits as those that load them from the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.run

PROGRAM = """
import hashlib
import numpy as np
import methods
from methods.training import dense_kernels, kernels, pursuit_kernels

generator = np.random.default_rng(0)
n, n_units, k = 256, 200, 8


def show(name, *arrays):
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())


for d in (50, 64, 384):
    atoms = generator.normal(size=(n_units, d)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x = generator.normal(size=(n, d)).astype(np.float32)
    units, values = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    pursuit_kernels.pursue(x @ atoms.T, atoms @ atoms.T, k, units, values)
    offsets = np.arange(0, n * k + 1, k)
    rows, entries = np.empty_like(x), np.empty(n * k, np.float32)
    kernels.weighted_rows(units.ravel(), offsets, values.ravel(), atoms, rows)
    kernels.row_products(units.ravel(), offsets, x, atoms, entries)
    totals = np.zeros((kernels.RANGES, n_units, d), np.float32)
    pursuit_kernels.pursue_backward(units, values, x - rows, x, atoms, totals)
    show(d, units, values, rows, entries, totals)
    pursuit_kernels.pursue_orthogonally(x @ atoms.T, atoms @ atoms.T, k, 5, units, values)
    pre = generator.normal(size=(n, d)).astype(np.float32)
    chosen, largest, cuts = np.empty((n, k), np.int64), np.empty((n, k), np.float32), np.empty(n, np.float32)
    kernels.largest(pre, k, chosen, largest)
    kernels.cuts(pre, k, cuts)
    parts, errors = generator.normal(size=(n, 5, d)).astype(np.float32), np.empty(n, np.float32)
    kernels.nest(parts, pre, errors)
    shares, kept, relu, slope = pre.copy(), pre.copy(), pre.copy(), pre.copy()
    dense_kernels.to_shares(shares)
    sums, counts, columns = np.empty(n, np.float32), np.zeros((8, d), np.int32), np.zeros((8, d), np.float32)
    dense_kernels.rectify(relu, pre[0].copy(), sums, counts)
    dense_kernels.keep_active(relu, slope, 0.3, columns)
    difference, scaled, errors_of, of_bias = pre.copy(), pre.copy(), np.empty(n, np.float32), np.zeros_like(columns)
    dense_kernels.differences(pre, pre[0].copy(), relu, difference, errors_of)
    dense_kernels.scaled(difference, 0.3, scaled, of_bias)
    more = np.empty(n, np.float32)
    dense_kernels.keep_from(kept, cuts, more, counts)
    show("omp", units, values)
    show("selected", chosen, largest, cuts)
    show("nested", parts, errors)
    show("shares", shares)
    show("rectified", relu, sums)
    show("slope", slope, columns)
    show("mean square", difference, errors_of, scaled, of_bias)
    show("kept", kept, more, counts)
"""


@pytest.mark.slow
def test_compiling_and_loading_give_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert len(first.stdout.splitlines()) == 27 and second.stdout == first.stdout
