"""Image sets by spec: ``photos`` (shipped), ``folder:PATH`` (class folders), ``hf:NAME`` (Hugging Face)."""

from harness.datasets.base import BrokenImageError, DatasetSplit, ImageRecord, ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch, batches, crop_generator
from harness.datasets.registry import DATASETS, DatasetRow, describe, load, names

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
