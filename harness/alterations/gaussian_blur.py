"""Gaussian blur: each pixel becomes a weighted mean of its neighbourhood."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from harness.alterations.base import ALTERATIONS, Alteration
from harness.alterations.pixels import SIDE, as_bytes, as_shares

#: Standard deviation of the kernel at the severities 1 to 5, in pixels of an image of 224 (ImageNet-C).
DEVIATIONS = (1, 2, 3, 4, 6)


@ALTERATIONS.register()
class GaussianBlur(Alteration):
    """Convolve each channel with a Gaussian (Hendrycks and Dietterich 2019), scaled to the side of the image.

    The image is mirrored at its edges, so the mean of each channel stays the same, up to rounding.
    """

    id = "gaussian_blur"
    title = "Gaussian blur"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        deviation = DEVIATIONS[self.severity - 1] * len(pixels) / SIDE
        return as_bytes(gaussian_filter(as_shares(pixels), (deviation, deviation, 0), mode="reflect"))
