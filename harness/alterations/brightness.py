"""Raised brightness: hue and saturation of each pixel stay, its value grows."""

from __future__ import annotations

import numpy as np

from harness.alterations.base import ALTERATIONS, Alteration
from harness.alterations.pixels import as_bytes, as_shares

#: Number that is added to the value of each pixel at the severities 1 to 5 (ImageNet-C).
ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)


@ALTERATIONS.register()
class Brightness(Alteration):
    """Add to the value (HSV: the largest channel) of each pixel, at most to 1 (Hendrycks and Dietterich 2019).

    With constant hue and saturation, all channels of a pixel grow by the same factor. A black pixel becomes grey.
    """

    id = "brightness"
    title = "raised brightness"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shares = as_shares(pixels)
        value = shares.max(-1, keepdims=True)
        raised = np.minimum(value + np.float32(ADDED[self.severity - 1]), 1)
        factor = np.divide(raised, value, out=np.zeros_like(value), where=value > 0)
        return as_bytes(np.where(value > 0, shares * factor, raised))
