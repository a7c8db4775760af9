"""Border: a frame of one colour around the image."""

from __future__ import annotations

import math

import numpy as np

from harness.alterations.base import ALTERATIONS, Alteration

#: Width of the frame, as a share of the image's side: 3, 7, 14, 21 and 28 pixels of 224.
WIDTHS = {1: 1 / 64, 2: 1 / 32, 3: 1 / 16, 4: 3 / 32, 5: 1 / 8}
#: Magenta, which is rare in photographs.
COLOUR = (255, 0, 255)


@ALTERATIONS.register()
class Border(Alteration):
    """Frame of magenta pixels, which hides what is below it.

    The severity sets its width: 1/64, 1/32, 1/16, 3/32 or 1/8 of the image's side, rounded down, and at least one
    pixel. Nothing is drawn at random.
    """

    id = "border"
    title = "magenta border"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        width = max(1, math.floor(WIDTHS[self.severity] * len(pixels)))
        framed = np.empty_like(pixels)
        framed[:] = COLOUR
        inner = slice(width, len(pixels) - width)
        framed[inner, inner] = pixels[inner, inner]
        return framed
