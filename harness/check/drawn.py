"""Small drawn images in three classes, so that a check needs no files and no photographs."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from harness.datasets.base import ImageRecord, ImageSet

CLASSES = ("stripes across", "stripes down", "rings")
SIDE = 48


class DrawnImages:
    """PNG files of stripes and rings, drawn when they are read; always the same."""

    def read(self, record: ImageRecord) -> bytes:
        return _drawn(int(record.name.removesuffix(".png")))

    def head(self, record: ImageRecord, count: int) -> bytes:
        return self.read(record)[:count]

    def size(self, record: ImageRecord) -> int:
        return len(self.read(record))


def drawn_images(n: int = 36) -> ImageSet:
    """``n`` images, the three classes in turns."""
    names = [f"{number:03d}.png" for number in range(n)]
    records = tuple(ImageRecord(name, Path(name), number % len(CLASSES)) for number, name in enumerate(names))
    return ImageSet("drawn", records, CLASSES, DrawnImages())


@lru_cache(maxsize=512)
def _drawn(number: int) -> bytes:
    generator = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] - generator.uniform(0.3, 0.7) * SIDE
    along = (y, x, np.hypot(x, y))[number % len(CLASSES)]
    wave = 0.5 + 0.5 * np.sin(along * generator.uniform(0.5, 0.7) + generator.uniform(0, 6))
    colour = generator.uniform(0.3, 1.0, 3)
    pixels = 255 * wave[..., None] * colour + generator.uniform(0, 20, (SIDE, SIDE, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()
