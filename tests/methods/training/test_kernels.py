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
from methods.training import kernels

generator = np.random.default_rng(0)
n, n_units, k = 256, 200, 8


def show(name, *arrays):
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())


for d in (50, 64, 384):
    atoms = generator.normal(size=(n_units, d)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x = generator.normal(size=(n, d)).astype(np.float32)
    units, values = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    kernels.pursue(x @ atoms.T, atoms @ atoms.T, k, units, values)
    offsets = np.arange(0, n * k + 1, k)
    rows, entries = np.empty_like(x), np.empty(n * k, np.float32)
    kernels.weighted_rows(units.ravel(), offsets, values.ravel(), atoms, rows)
    kernels.row_products(units.ravel(), offsets, x, atoms, entries)
    totals = np.zeros((kernels.RANGES, n_units, d), np.float32)
    kernels.pursue_backward(units, values, x - rows, x, atoms, totals)
    show(d, units, values, rows, entries, totals)
"""


@pytest.mark.slow
def test_compiling_and_loading_give_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert len(first.stdout.splitlines()) == 3 and second.stdout == first.stdout
