"""Folders of small pictures, and a transform that says which image it was given, for tests of image sets."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from harness.datasets.base import ImageSet


def make_folder(root: Path, layout: dict[str, int]) -> Path:
    """``{"cat": 3}`` makes cat/0.png to cat/2.png, each image of another grey."""
    for number, (name, count) in enumerate(layout.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("RGB", (12 + number, 10), (index * 7 % 256,) * 3).save(root / name / f"{index}.png")
    return root


def names(images: ImageSet) -> list[str]:
    return [record.name for record in images.records]


def to_tensor(image: Image.Image, index: int) -> torch.Tensor:
    return torch.full((3, 2, 2), float(index))
