"""Pixelation: the image is reduced and enlarged again without interpolation."""

from __future__ import annotations

import numpy as np
from PIL import Image

from harness.alterations.base import ALTERATIONS, Alteration

#: Side of the reduced image, as a share, at the severities 1 to 5 (ImageNet-C).
SIDES = (0.6, 0.5, 0.4, 0.3, 0.25)


@ALTERATIONS.register()
class Pixelate(Alteration):
    """Average blocks of pixels and fill each block with its mean (Hendrycks and Dietterich 2019)."""

    id = "pixelate"
    title = "pixelation"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        size = len(pixels)
        reduced = max(1, int(size * SIDES[self.severity - 1]))
        small = Image.fromarray(pixels).resize((reduced, reduced), Image.Resampling.BOX)
        return np.asarray(small.resize((size, size), Image.Resampling.NEAREST))
