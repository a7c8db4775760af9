"""Part of an image that the network saw: the same in the pictures of the app and in the grids of the judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

#: Colour of padding, and of tiles without an image.
BLANK = (128, 128, 128)


@dataclass(frozen=True)
class View:
    """Part of an image that the network saw."""

    fit: str = "crop"
    """``"crop"``: a centre square; ``"squash"``: the whole image resized to a square; ``"border"``: the whole image,
    padded to a square"""
    share: float = 1.0
    """side of the visible square over the image's shorter side (crop), or over the square that the whole image gives"""

    def of(self, image: Image.Image, side: int) -> Image.Image:
        """Return that part of the image, ``side`` x ``side`` px."""
        if self.fit == "border":
            longer = max(image.size)
            image = ImageOps.pad(image, (longer, longer), color=BLANK)
        width, height = image.size
        across, down = (width, height) if self.fit == "squash" else (min(image.size),) * 2
        half_width, half_height = self.share * across / 2, self.share * down / 2
        box = (width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


#: The whole centre square.
CENTRE = View()


def view_of(identity: Mapping[str, Any] | None) -> View:
    """Return the part of each image that the network received, from a cell's identity; default: the centre square."""
    preprocessing = ((identity or {}).get("evaluation") or {}).get("preprocessing") or {}
    size, resize = preprocessing.get("size"), preprocessing.get("resize")
    fit = str(preprocessing.get("fit"))
    # "squash" ignores `resize`.
    share = float(size) / float(resize) if size and resize and fit != "squash" else 1.0
    return View({"squash": "squash", "squash_crop": "squash", "border": "border"}.get(fit, "crop"), share)
