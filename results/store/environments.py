"""Environments in which cells were computed, and the expected differences between results of two of them.

A cell computed twice on one machine, with the same threads and versions, has the same bits. On another processor, or
with other threads, sums are added in another order (docs/reproducibility.md). Needs only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Entries of a cell's `environment` that can change the last digits of a result, and their display names.
CAUSES = {
    "processor": "processor",
    "threads": "number of threads",
    "blas": "BLAS of numpy and scipy",
    "mkl_cbwr": "MKL_CBWR",
    "torch_kernels": "vector instructions of torch",
}
#: Largest difference to expect if a cause differs: absolute in scores up to 1, relative in larger ones. Measured on the
#: demo with kernels of another CPU: .002 without training (a border point of a cluster), .03 with (three predictions of
#: 100); the bounds leave some margin.
WITHOUT_TRAINING = 0.005
WITH_TRAINING = 0.05
#: Units of the scores that the bounds hold for; counts of units and logits differ by more.
BOUNDED_UNITS = ("fraction", "")


def causes(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> list[str]:
    """Return the differences between two environments, in words; nothing if one of them was not recorded."""
    if not first or not second:
        return []
    return [title for key, title in CAUSES.items() if first.get(key) != second.get(key)]


def expected_difference(claims: Mapping[str, Any] | None) -> float:
    """Return the largest expected difference between two results of one cell in different environments."""
    return WITHOUT_TRAINING if (claims or {}).get("training_free") else WITH_TRAINING
