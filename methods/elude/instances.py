"""Top-k activation instances: the tokens that characterise a neuron (ELUDe, eq. 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numba import njit

from methods.base import Tokens
from methods.elude.kernels import Array
from methods.errors import ArgumentError
from methods.tracing import traced

# Columns copied out of a block together: 16 float32 are one cache line, so every line of the block is read once.
COLUMNS = 16


def top_instances(
    tokens: Tokens, top_k: int, *, units: Iterable[int] | None = None, memory_bytes: int = 1 << 30
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (neuron, rows) in neuron order: the ascending rows (top_k,) int64 of its tokens of largest activation.

    ``top_k`` is at most ``tokens.n``; None for ``units`` means all neurons. Ties go to the lower row. Neurons are taken
    in blocks of as many columns as fit in ``memory_bytes``; each block is one pass over the stored outputs, so that no
    (tokens x neurons) matrix is held. A block without a requested neuron is not read.
    """
    d_out = tokens.width("output")
    wanted = np.zeros(d_out, bool)
    wanted[np.arange(d_out) if units is None else np.fromiter(units, np.int64)] = True
    # Memory of the block itself, plus the copies of COLUMNS columns.
    block = max(1, min(d_out, memory_bytes // (4 * tokens.n) - COLUMNS))
    for start in range(0, d_out, block):
        stop = min(start + block, d_out)
        if not wanted[start:stop].any():
            continue
        activations = tokens.columns("output", start, stop).numpy()
        for first in range(0, stop - start, COLUMNS):
            group = np.flatnonzero(wanted[start + first : min(start + first + COLUMNS, stop)])
            if not len(group):
                continue
            columns = np.ascontiguousarray(activations[:, first : first + COLUMNS].T)
            for column in group.tolist():
                yield start + first + column, top_rows(columns[column], top_k)


@traced("selection of instances, on the CPU")
def top_rows(values: np.ndarray, top_k: int) -> np.ndarray:
    """Return ascending row numbers (top_k,) of the largest of ``values`` (n,); ties go to the lower row.

    Raises:
        ArgumentError: if a value is NaN, which has no rank, or ``top_k`` is negative.
    """
    n = len(values)
    if top_k < 0:
        raise ArgumentError(f"top_rows: top_k = {top_k}; it must be at least 0.")
    # The largest value is NaN if any is. NaN is never above a threshold, so fewer than top_k rows would be written.
    if n and np.isnan(values.max()):
        raise ArgumentError(f"top_rows: value {int(np.isnan(values).argmax())} of {n} is NaN, which has no rank.")
    if top_k >= n:
        return np.arange(n)
    if not top_k:
        return np.arange(0)
    return rows_from(values, np.partition(values, n - top_k)[n - top_k], top_k)


@njit(cache=True, nogil=True)
def rows_from(values: Array, threshold: float, top_k: int) -> Array:
    """Return all rows of values (n,) above the threshold, and the first rows equal to it, top_k in total."""
    n = values.shape[0]
    above = 0
    for i in range(n):
        above += values[i] > threshold
    level = top_k - above
    out = np.empty(top_k + 1, np.int64)
    count = 0
    for i in range(n):
        # Write unconditionally, then advance: a branch would be unpredictable for the CPU.
        out[count] = i
        at = values[i] == threshold and level > 0
        level -= at
        count += values[i] > threshold or at
    return out[:top_k]
