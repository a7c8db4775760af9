"""Share of evaluation images with a property, with the outcome of each image."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


class ImageShare:
    """Streaming share of images.

    Args:
        n_images: number of images of the evaluation split.
    """

    def __init__(self, n_images: int) -> None:
        self._counted = torch.zeros(n_images, dtype=torch.bool)
        self._positive = torch.zeros(n_images, dtype=torch.bool)

    def update(self, image: Tensor, positive: Tensor, counted: Tensor | None = None) -> None:
        """Add images: indices (B,), the property (B,) bool, and which of them count (B,) bool; None: all."""
        counted = torch.ones_like(positive) if counted is None else counted
        self._counted[image] = counted
        self._positive[image] = positive & counted

    @property
    def count(self) -> int:
        """Number of images that count."""
        return int(self._counted.sum())

    @property
    def share(self) -> float:
        """Share of the counted images with the property; NaN if none counts."""
        return int(self._positive.sum()) / self.count if self.count else math.nan

    def outcomes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (counted, positive), each (n_images,) bool."""
        return self._counted.numpy(), self._positive.numpy()
