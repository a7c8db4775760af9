"""Reduced contrast: each value moves towards the mean of its channel."""

from __future__ import annotations

import numpy as np

from harness.alterations.base import ALTERATIONS, Alteration
from harness.alterations.pixels import as_bytes, as_shares

#: Share of the distance to the mean that is kept at the severities 1 to 5 (ImageNet-C).
KEPT = (0.4, 0.3, 0.2, 0.1, 0.05)


@ALTERATIONS.register()
class Contrast(Alteration):
    """Multiply the distance of each value to the mean of its channel (Hendrycks and Dietterich 2019)."""

    id = "contrast"
    title = "reduced contrast"

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shares = as_shares(pixels)
        means = shares.mean((0, 1), dtype=np.float64).astype(np.float32)
        return as_bytes(means + KEPT[self.severity - 1] * (shares - means))
