"""Synthetic JPEGs of the size of ImageNet's: ``synthetic:PROBING+EVALUATION``, of 1000 classes; for timing only."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from harness.datasets import DATASETS
from harness.datasets.base import ImageRecord, ImageSet, PredefinedSplit, Reader
from harness.datasets.label_sets import IMAGENET_1K, load_label_set
from methods.errors import UserError
from results.rehearsals import DATASET

#: Typical size of ImageNet's photographs, and distinct images that are encoded.
WIDTH, HEIGHT, DISTINCT = 500, 375, 32
#: ImageNet's files have about 110 kB.
QUALITY = 92
CLASSES = 1000
#: Records are listed in memory.
MOST_IMAGES = 10_000_000


class MemoryReader(Reader):
    """Reader of the encoded images, which repeat from the record number :data:`DISTINCT` on."""

    def read(self, record: ImageRecord) -> bytes:
        return jpegs()[int(record.name.rpartition("/")[2]) % DISTINCT]


@functools.cache
def jpegs() -> tuple[bytes, ...]:
    """Return the encoded images: structures of several sizes, with noise."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(DISTINCT):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        for cells, strength in ((4, 90), (16, 50), (64, 25), (250, 16)):
            coarse = generator.normal(0, strength, (cells * 3 // 4, cells, 3)).astype(np.float32)
            for channel in range(3):
                layer = Image.fromarray(coarse[..., channel], "F").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
                pixels[..., channel] += np.asarray(layer)
        file = io.BytesIO()
        Image.fromarray((128 + pixels).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        encoded.append(file.getvalue())
    return tuple(encoded)


def counts_of(identifier: str) -> tuple[int, int]:
    """Return the numbers of probing and evaluation images that ``PROBING+EVALUATION`` names.

    Raises:
        UserError: if the text is something else, or a number is 0 or too large.
    """
    match = re.fullmatch(r"(\d{1,9})\+(\d{1,9})", identifier)
    counts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (min(counts) >= 1 and sum(counts) <= MOST_IMAGES):
        raise UserError(
            f"{DATASET}:{identifier[:40]}: give the numbers of probing and evaluation images, each at least 1, as in "
            f"{DATASET}:40+10."
        )
    return counts


def class_names() -> tuple[str, ...]:
    """Return ImageNet-1k's classes, so that accuracy is measured, or numbers if timm does not list them."""
    label_set = load_label_set(IMAGENET_1K)
    return tuple(f"class {number:03d}" for number in range(CLASSES)) if label_set is None else tuple(label_set.ids)


def load(identifier: str = "") -> ImageSet:
    """Return the set, split into probing and evaluation images; image i has the class i modulo 1000.

    Raises:
        UserError: for a wrong ``identifier``, see :func:`counts_of`.
    """
    probing, evaluation = counts_of(identifier)
    names = [f"train/{number:09d}" for number in range(probing)] + [f"val/{number:09d}" for number in range(evaluation)]
    records = tuple(ImageRecord(name, Path(name), int(name.rpartition("/")[2]) % CLASSES) for name in names)
    split = PredefinedSplit.by_folder(records, "train")
    return ImageSet(DATASET, records, class_names(), reader=MemoryReader(), predefined_split=split)


# A literal name, so that the registry finds it without importing this module.
DATASETS.add("synthetic", load, description="synthetic JPEGs for timing, synthetic:PROBING+EVALUATION")
