"""Image sets by spec: ``photos`` (shipped), ``folder:PATH`` (class folders), ``hf:NAME`` (Hugging Face)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.datasets.base import BrokenImageError, DatasetSplit, ImageRecord, ImageSet
from harness.datasets.registry import DATASETS, DatasetRow, describe, load, names

if TYPE_CHECKING:
    from harness.datasets.loading import BrokenReport, ImageBatch, batches, crop_generator

__all__ = [
    "DATASETS",
    "BrokenImageError",
    "BrokenReport",
    "DatasetRow",
    "DatasetSplit",
    "ImageBatch",
    "ImageRecord",
    "ImageSet",
    "batches",
    "crop_generator",
    "describe",
    "load",
    "names",
]

_LOADING = ("BrokenReport", "ImageBatch", "batches", "crop_generator")


def __getattr__(name: str) -> Any:
    # Loading imports torch, which the name of an image set does not need.
    if name not in _LOADING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("harness.datasets.loading"), name)
