"""Image sets by spec: ``photos`` (shipped), ``folder:PATH`` (class folders), ``hf:NAME`` (Hugging Face)."""

from harness.datasets.base import BrokenImage, BrokenImageError, ImageRecord, ImageSet, Split
from harness.datasets.loading import Batch, BrokenReport, batches, crop_generator
from harness.datasets.registry import DATASETS, DatasetRow, describe, load, names

__all__ = [
    "DATASETS",
    "Batch",
    "BrokenImage",
    "BrokenImageError",
    "BrokenReport",
    "DatasetRow",
    "ImageRecord",
    "ImageSet",
    "Split",
    "batches",
    "crop_generator",
    "describe",
    "load",
    "names",
]
