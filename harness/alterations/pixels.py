"""Conversion of the pixels of an image between 8 bits and shares of the brightest value."""

from __future__ import annotations

import numpy as np

#: Side of the images for which ImageNet-C states lengths in pixels.
SIDE = 224


def as_shares(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (size, size, 3) uint8 as float32 from 0 to 1."""
    shares: np.ndarray = pixels.astype(np.float32) / 255
    return shares


def as_bytes(shares: np.ndarray) -> np.ndarray:
    """Return shares (size, size, 3), clipped to 0..1, as uint8, rounded to the nearest value."""
    pixels: np.ndarray = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return pixels
