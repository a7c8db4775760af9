"""Images of a planted world: each patch of pixels stores one token's input without loss.

Input dimension ``c * p * p + y * p + x`` of a token is channel c of pixel (y, x) of its p x p patch, the order of
``pixel_unshuffle``.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from harness.datasets.base import ImageRecord, ImageSet, Reader
from harness.datasets.hierarchy import ClassHierarchy
from harness.errors import UserError
from harness.planted.world import LARGEST, SETTINGS, World, world


class DrawnReader(Reader):
    """Reader that encodes the images of a world as PNG files in memory."""

    def __init__(self, of: World) -> None:
        self.world = of
        self._encoded = lru_cache(maxsize=of.setting.n_images)(self._encode)

    def read(self, record: ImageRecord) -> bytes:
        return self._encoded(number_of(record))

    def _encode(self, number: int) -> bytes:
        setting = self.world.setting
        tokens = self.world.inputs[number].T.reshape(1, setting.d_in, setting.grid, setting.grid)
        pixels = torch.nn.functional.pixel_shuffle(tokens, setting.patch)[0]
        values = (pixels * (255 / LARGEST)).round().permute(1, 2, 0).numpy().astype(np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(values).save(encoded, format="PNG", compress_level=1)
        return encoded.getvalue()


def load(identifier: str) -> ImageSet:
    """Load the images of the world ``identifier``. The class of an image is its main concept.

    The parents of a hierarchical world are the class hierarchy.

    Raises:
        UserError: if the identifier is missing, unknown, or contains a seed.
    """
    if not identifier:
        raise UserError(
            f"The name of the planted world is missing: use planted:NAME with one of {', '.join(SETTINGS)}."
        )
    if "@" in identifier:
        raise UserError(
            f"The image set planted:{identifier} has a seed, but the images are the same for all seeds: use "
            f"planted:{identifier.partition('@')[0]}."
        )
    of = world(identifier)
    records = tuple(
        ImageRecord(f"{number:05d}.png", Path(f"{number:05d}.png"), int(label)) for number, label in enumerate(of.main)
    )
    classes = tuple(f"concept {number:02d}" for number in range(of.setting.n_classes))
    return ImageSet(f"planted:{identifier}", records, classes, DrawnReader(of), class_hierarchy=_hierarchy(of))


def _hierarchy(of: World) -> ClassHierarchy | None:
    """Return the parents above the classes; None for a world without a hierarchy."""
    setting = of.setting
    if not setting.children:
        return None
    parents = tuple(f"parent {number}" for number in range(setting.n_parents))
    parent_of = (of.parent_of[: setting.n_classes] - setting.n_classes).tolist()
    return ClassHierarchy(parents, tuple(parent_of), (-1,) * len(parents))


def number_of(record: ImageRecord) -> int:
    """Return the number of a record's image in its world."""
    return int(record.name.removesuffix(".png"))
