"""Pictures of a unit: its top images in one WebP file, and its activation maps in another that lies over them.

The maps are small: a browser enlarges them smoothly.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from results.pictures.heat_map import heat_layer
from results.pictures.theme import OUTLINE
from results.views import BLANK, View

#: Images per unit, in a square, and the size of each in px; a gap of the page's colour is between them.
COLUMNS, TILE_PX, GAP_PX = 3, 144, 2
PICTURE_PX = COLUMNS * (TILE_PX + GAP_PX) - GAP_PX
#: Size of the picture of the maps relative to that of the images.
_MAP_SCALE = 2
_QUALITY, _MAP_QUALITY = 70, 55


class Tile(NamedTuple):
    """Image of a unit."""

    file: Path | None
    view: View
    is_active: bool = True
    frame: tuple[int, int] | None = None
    """(position, tokens along a side) of the maximum, to be outlined; None: no outline"""


def images_picture(tiles: Sequence[Tile]) -> bytes:
    """Return the images as WebP, row by row; a grey square for one that is missing or on which the unit is silent."""
    canvas = Image.new("RGB", (PICTURE_PX, PICTURE_PX), BLANK)
    step = TILE_PX + GAP_PX
    for number, tile in enumerate(tiles[: COLUMNS**2]):
        row, column = divmod(number, COLUMNS)
        picture = _square(tile.file, tile.view) if tile.file is not None and tile.is_active else None
        if picture is not None:
            if tile.frame is not None:
                picture = _framed(picture, *tile.frame)
            canvas.paste(picture, (column * step, row * step))
    return _webp(canvas, _QUALITY)


def maps_picture(maps: np.ndarray) -> bytes:
    """Return the maps (k, side, side) uint8 as a transparent WebP picture that fits over that of the images."""
    size = PICTURE_PX // _MAP_SCALE
    canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    edges = [round(number * (TILE_PX + GAP_PX) / _MAP_SCALE) for number in range(COLUMNS)]
    side = TILE_PX // _MAP_SCALE
    for number, activation in enumerate(maps[: COLUMNS**2]):
        row, column = divmod(number, COLUMNS)
        canvas.paste(heat_layer(activation, (side, side)), (edges[column], edges[row]))
    return _webp(canvas, _MAP_QUALITY)


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, alpha_quality=60, method=4)
    return buffer.getvalue()


def _framed(picture: Image.Image, position: int, side: int) -> Image.Image:
    drawn = picture.copy()
    row, column = divmod(position, side)
    cell = TILE_PX / side
    start = [max(round(index * cell) - 2, 0) for index in (column, row)]
    end = [min(round((index + 1) * cell) + 1, TILE_PX - 1) for index in (column, row)]
    ImageDraw.Draw(drawn).rectangle((*start, *end), outline=OUTLINE, width=2)
    return drawn


def frame_of(position: int | None, side: int | None) -> tuple[int, int] | None:
    """Return the outline of a token's position; None if it is a token without a position, or nothing is known."""
    if position is None or side is None or not 0 <= position < side**2:
        return None
    return position, side


def side_of(last_position: int | None) -> int | None:
    """Return the tokens along a side, from the largest position among a cell's top images; None if unknown."""
    return None if last_position is None or last_position < 1 else math.isqrt(last_position) + 1


@lru_cache(maxsize=1024)
def _square(path: Path, view: View) -> Image.Image | None:
    """Return the part of an image that the network saw; None if the file is not an image."""
    try:
        with Image.open(path) as opened:
            # A JPEG is decoded at about the size of the tile.
            opened.draft("RGB", (2 * TILE_PX, 2 * TILE_PX))
            return view.of(ImageOps.exif_transpose(opened).convert("RGB"), TILE_PX)
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
        return None
