"""Compiled loops over float32 codes on the CPU: reductions in one reading, and insertion into sorted top lists.

Nothing is added in floating point, so results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from methods.compiled_loops import parallel

# Shapes and types are in each docstring; numba compiles for the types it is given.
Array = NDArray[Any]

#: Units whose top lists one thread handles at once: 256 x 100 entries fit into the second-level cache.
LISTS = 256


@parallel(set())
def reduce_codes(
    codes: Array, width: int, peak: Array, token: Array, low: Array, fires: Array, active: Array, nonzero: Array
) -> None:
    """Reduce codes (B, T, n_units) float32 over the tokens, T >= 1; all outputs but the first two are updated.

    Args:
        width: number of units that one thread handles at once.
        peak: (B, n_units) float32, the largest code of each unit on each image.
        token: (B, n_units) int64, the first token of that code.
        low: (n_units,) float32, lowered to the unit's smallest code.
        fires: (n_units,) int64, raised by the number of positive codes.
        active: (n_units,) int64, raised by the number of nonzero codes.
        nonzero: (ceil(n_units / width), B) int64, raised by the nonzero codes of each block of units on each image.
    """
    n_images, n_tokens, n_units = codes.shape
    for block in prange(len(nonzero)):
        first = block * width
        size = min(width, n_units - first)
        # int32 counters let the compiler handle 16 units with an instruction.
        largest, smallest = np.empty(size, np.float32), np.empty(size, np.float32)
        best, positive, other = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
        for i in range(n_images):
            for u in range(size):
                largest[u] = smallest[u] = codes[i, 0, first + u]
                best[u] = 0
                positive[u] = 0
                other[u] = 0
            for t in range(n_tokens):
                now = np.int32(t)
                for u in range(size):
                    code = codes[i, t, first + u]
                    best[u] = now if code > largest[u] else best[u]
                    largest[u] = code if code > largest[u] else largest[u]
                    smallest[u] = code if code < smallest[u] else smallest[u]
                    positive[u] += np.int32(code > 0)
                    other[u] += np.int32(code != 0)
            count = 0
            for u in range(size):
                peak[i, first + u] = largest[u]
                token[i, first + u] = best[u]
                low[first + u] = min(low[first + u], smallest[u])
                fires[first + u] += positive[u]
                active[first + u] += other[u]
                count += other[u]
            nonzero[block, i] += count


@parallel(set())
def insert_peaks(
    value: Array, image: Array, token: Array, filled: int, peak: Array, peak_token: Array, index: Array
) -> None:
    """Insert the peaks of B images into the top lists of units, which are sorted by value, descending.

    A peak goes behind the equal ones, and is dropped if the list is full and its last value is not smaller. For images
    in ascending order, this is the order of a stable sort.

    Args:
        value: (n_units, K) float32, updated; the first ``filled`` entries of each row are valid.
        image: (n_units, K) int64, updated.
        token: (n_units, K) int64, updated.
        filled: at least ``K - B``.
        peak: (B, n_units) float32.
        peak_token: (B, n_units) int64.
        index: (B,) int64 images of the peaks.
    """
    n_units, capacity = value.shape
    for block in prange((n_units + LISTS - 1) // LISTS):
        for i in range(len(index)):
            count = min(filled + i, capacity)
            for u in range(block * LISTS, min((block + 1) * LISTS, n_units)):
                new = peak[i, u]
                if count == capacity and not new > value[u, capacity - 1]:
                    continue
                position = min(count, capacity - 1)
                while position > 0 and new > value[u, position - 1]:
                    value[u, position] = value[u, position - 1]
                    image[u, position] = image[u, position - 1]
                    token[u, position] = token[u, position - 1]
                    position -= 1
                value[u, position] = new
                image[u, position] = index[i]
                token[u, position] = peak_token[i, u]
