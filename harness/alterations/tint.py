"""Tint: a mixture of every pixel with one colour."""

from __future__ import annotations

import numpy as np

from harness.alterations.base import ALTERATIONS, Alteration

#: Share of the colour in each pixel.
STRENGTHS = {1: 0.15, 2: 0.3, 3: 0.45, 4: 0.6, 5: 0.75}
#: Orange, as in light of low colour temperature.
COLOUR = (255, 128, 0)


@ALTERATIONS.register()
class Tint(Alteration):
    """Mixture ``(1 - s) * pixel + s * orange``, rounded to whole numbers.

    The severity sets the strength s: 0.15, 0.3, 0.45, 0.6 or 0.75. Nothing is drawn at random.
    """

    id = "tint"
    title = "orange tint"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        strength = STRENGTHS[self.severity]
        mixed = (1 - strength) * pixels.astype(np.float64) + strength * np.asarray(COLOUR, dtype=np.float64)
        return np.rint(mixed).astype(np.uint8)
