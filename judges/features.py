"""Classical image features for proxy judges: colour with texture, and the layout of edges. No weights."""

from __future__ import annotations

import numpy as np
from PIL import Image

#: Side to which a cell is resized first, px.
SIDE = 112
HUES, SATURATIONS, VALUES = 12, 4, 4
RADII = (1, 2)
ORIENTATIONS, CELLS = 9, 7


def colour_texture(image: Image.Image) -> np.ndarray:
    """Return a (d,) unit vector: square roots of a hue-saturation-value histogram and of one of local binary patterns.

    The square roots make the cosine of two images the Bhattacharyya coefficient of their histograms. The patterns are
    the rotation-invariant uniform ones at 8 points and radii 1 and 2 (Ojala, Pietikainen and Maenpaa, 2002).
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    hsv = np.asarray(small.convert("HSV"), dtype=np.int64)
    bins = (hsv * np.array([HUES, SATURATIONS, VALUES])) >> 8
    joint = (bins[..., 0] * SATURATIONS + bins[..., 1]) * VALUES + bins[..., 2]
    colour = np.bincount(joint.ravel(), minlength=HUES * SATURATIONS * VALUES)
    grey = np.asarray(small.convert("L"), dtype=np.float64)
    texture = np.concatenate([_binary_patterns(grey, radius) for radius in RADII])
    parts = [np.sqrt(histogram / histogram.sum()) for histogram in (colour, texture)]
    return np.asarray(np.concatenate(parts) / np.sqrt(2))


def _binary_patterns(grey: np.ndarray, radius: int) -> np.ndarray:
    """Return (10,) counts of pixels by number of the 8 neighbours at least as bright, and of non-uniform patterns."""
    steps = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    height, width = grey.shape
    centre = grey[radius : height - radius, radius : width - radius]
    shifted = [np.roll(grey, (-radius * y, -radius * x), axis=(0, 1)) for y, x in steps]
    around = np.stack(shifted)[:, radius : height - radius, radius : width - radius] >= centre
    changes = (around != np.roll(around, 1, axis=0)).sum(0)
    pattern = np.where(changes <= 2, around.sum(0), 9)
    return np.bincount(pattern.ravel(), minlength=10)


def gradients(image: Image.Image) -> np.ndarray:
    """Return a (d,) unit vector of histograms of oriented gradients in 7 x 7 cells, each normalised.

    The mean over all entries is subtracted, so that two images without common edges are nearly orthogonal (Dalal and
    Triggs, 2005).
    """
    grey = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("L"), dtype=np.float64) / 255
    down, right = np.gradient(grey)
    strength = np.hypot(right, down)
    angle = (np.arctan2(down, right) % np.pi) * (ORIENTATIONS / np.pi)
    low = np.floor(angle).astype(np.int64) % ORIENTATIONS
    share = angle - np.floor(angle)
    cell = np.arange(SIDE) * CELLS // SIDE
    first_bin = (cell[:, None] * CELLS + cell[None, :]) * ORIENTATIONS

    def histogram(orientation: np.ndarray, weights: np.ndarray) -> np.ndarray:
        counts = np.bincount((first_bin + orientation).ravel(), weights.ravel(), CELLS * CELLS * ORIENTATIONS)
        return counts.reshape(CELLS * CELLS, ORIENTATIONS)

    cells = histogram(low, strength * (1 - share)) + histogram((low + 1) % ORIENTATIONS, strength * share)
    cells = cells / (np.linalg.norm(cells, axis=1, keepdims=True) + 1e-2)
    vector = np.clip(cells - cells.mean(), -0.5, 0.5).ravel()
    norm = float(np.linalg.norm(vector))
    return np.asarray(vector / norm if norm > 0 else vector)
