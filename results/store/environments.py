"""Circumstances in which cells were computed, and how far results of two of them may differ.

A cell computed twice on one machine, with the same threads and versions, has the same bits. On another processor, or
with other threads, sums are added in another order (docs/reproducibility.md). Needs only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What a cell's `environment` holds that can change the last digits of a result, and what people call it.
CAUSES = {
    "processor": "processor",
    "threads": "number of threads",
    "blas": "BLAS of numpy and scipy",
    "mkl_cbwr": "MKL_CBWR",
    "torch_kernels": "vector instructions of torch",
}
#: Largest difference to expect where a cause differs: absolute in scores up to 1, relative in larger ones. Measured on
#: the demo with kernels of another processor: .002 without training (a border point of a cluster), .03 with (three
#: predictions of 100); the bounds leave some room.
WITHOUT_TRAINING = 0.005
WITH_TRAINING = 0.05
#: Units of the scores that the bounds hold for; counts of units and logits differ by more.
BOUNDED_UNITS = ("fraction", "")


def causes(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> list[str]:
    """Return what differs between two environments, in words; nothing if one of them was not recorded."""
    if not first or not second:
        return []
    return [title for key, title in CAUSES.items() if first.get(key) != second.get(key)]


def expected_difference(claims: Mapping[str, Any] | None) -> float:
    """Return how far two results of one cell may differ between environments."""
    return WITHOUT_TRAINING if (claims or {}).get("training_free") else WITH_TRAINING
