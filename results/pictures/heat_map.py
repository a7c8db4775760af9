"""Heat map of a unit's activation over one of its top images.

The colours are those of matplotlib's inferno, which is perceptually uniform: equal steps of the activation look like
equal steps, also in grey and to colour-blind people. The stronger the activation, the less of the image shines through.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

#: Inferno without the darkest three of 17 equally spaced levels; between them linear, at most 7 of 255 off.
_INFERNO = np.array(
    [
        *[(61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106), (163, 44, 97), (188, 55, 84), (210, 70, 68)],
        *[(228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53), (242, 234, 105)],
        *[(252, 255, 164)],
    ],
    dtype=np.float32,
)


def heat_map(image: Image.Image, activation: np.ndarray, *, opacity: float = 0.8) -> Image.Image:
    """Return a picture of where a unit is active on an image.

    Args:
        image: the part of the image that the network saw (`results.views.View.of`), any size and mode.
        activation: (side, side) uint8 over that part, row by row; 255 is the unit's largest activation on any image
            (`results.store.unit_maps.UnitMaps.maps`).
        opacity: of the heat map where the activation is 255, from 0 (the plain image) to 1.

    Returns:
        An RGB picture of the size of `image`.
    """
    layer = heat_layer(activation, image.size, opacity=opacity)
    picture = image.convert("RGB")
    picture.paste(layer, mask=layer.getchannel("A"))
    return picture


def heat_layer(activation: np.ndarray, size: tuple[int, int], *, opacity: float = 0.8) -> Image.Image:
    """Return the heat map alone, for a page that lays it over the image: an RGBA picture of `size`, see `heat_map`."""
    level = np.arange(256) / 255
    colour = [np.interp(level, np.linspace(0, 1, len(_INFERNO)), band) for band in _INFERNO.T]
    # A power below one: weak activations are seen, and their colour tells them from strong ones.
    table = np.stack([*colour, 255 * opacity * level**0.7], axis=1).round().astype(np.uint8)
    # Looked up per level: arithmetic per pixel takes several times as long.
    return Image.fromarray(table[_smooth(activation, size)], "RGBA")


def _smooth(activation: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the activation from 0 to 255 at each pixel, interpolated bilinearly between the centres of the cells."""
    cells = Image.fromarray(np.ascontiguousarray(activation, dtype=np.uint8), "L")
    return np.asarray(cells.resize(size, Image.Resampling.BILINEAR))
