"""Gaussian noise: an independent normal number is added to each value of each pixel."""

from __future__ import annotations

import numpy as np

from harness.alterations.base import ALTERATIONS, Alteration
from harness.alterations.pixels import as_bytes, as_shares

#: Standard deviation at the severities 1 to 5, in shares of the brightest value (ImageNet-C).
DEVIATIONS = (0.08, 0.12, 0.18, 0.26, 0.38)


@ALTERATIONS.register()
class GaussianNoise(Alteration):
    """Add a normal number of mean 0 to each value, and clip to the range of pixels (Hendrycks and Dietterich 2019)."""

    id = "gaussian_noise"
    title = "Gaussian noise"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        noise = generator.standard_normal(pixels.shape, dtype=np.float32)
        return as_bytes(as_shares(pixels) + DEVIATIONS[self.severity - 1] * noise)
