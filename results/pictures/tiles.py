"""Tiles of a unit's pictures: the part of an image that the network saw, with a heat map or the place of the maximum.

The visible part is that of the grids shown to judges (`results/views.py`), so that an outline means the same in both.
A heat map (`results/pictures/heat_map.py`) is drawn where the store has the unit's activation on an image and the
maximum is at a patch. A maximum at CLS or a register has no position in the image, so such an image has a tag instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from results.pictures.heat_map import heat_map
from results.pictures.theme import OUTLINE
from results.views import BLANK, CENTRE, View, view_of

#: Drawing over an image: the heat map, or a frame if there is none; a frame around the maximum; nothing.
Overlay = Literal["heat map", "frame", "plain"]
OPACITY = 0.8


@dataclasses.dataclass(frozen=True)
class Seen:
    """Part of an image that the network saw, and the layout of its tokens.

    Attributes:
        view: visible part of each image.
        side: tokens along one side; None if unknown: nothing is outlined then.
    """

    view: View = CENTRE
    side: int | None = None


@dataclasses.dataclass(frozen=True)
class PictureTile:
    """Picture of a unit.

    Attributes:
        name: file name within the image set, None if it is not in the store.
        position: of the maximum, row by row; -1 is the CLS token, registers are below, None: not recorded.
        active: true if the unit is active on it (above zero).
        activation: of a square grid over the visible part, one byte per cell, row by row; None: not stored.
    """

    name: str | None
    position: int | None
    active: bool = True
    activation: bytes | None = None


def seen_of(identity: Mapping[str, Any] | None, last_position: int | None) -> Seen:
    """Return the visible part and token layout, from a cell's identity and the largest position among its top images.

    The number of tokens is not stored. The smallest square layout that holds the largest position is the right one as
    soon as any top image has its maximum in the last row.
    """
    side = None if last_position is None or last_position < 1 else math.isqrt(last_position) + 1
    return Seen(view_of(identity), side)


def drawn_tile(
    tile: PictureTile, path: Path | None, stamp: int | None, seen: Seen, px: int, overlay: Overlay, opacity: float
) -> Image.Image:
    """Return a tile, px x px, with its overlay; a grey one for an image that is missing, unreadable or not active.

    Args:
        tile: the picture.
        path: file of the image; None if there is none.
        stamp: time of its last change.
        seen: part of the image that is drawn.
        px: side of the tile.
        overlay: drawing over the image.
        opacity: of the heat map.
    """
    if path is None or stamp is None:
        return _placeholder(px, "no file")
    picture = visible_square(path, stamp, seen.view, px)
    if picture is None:
        return _placeholder(px, "unreadable")
    if not tile.active:
        return _placeholder(px, "not active")
    if overlay == "heat map" and tile.activation and tile.position is not None and tile.position >= 0:
        side = math.isqrt(len(tile.activation))
        activation = np.frombuffer(tile.activation, np.uint8)[: side * side].reshape(side, side)
        return heat_map(picture, activation, opacity=opacity).convert("RGBA")
    drawn = picture.copy()
    if tile.position is not None and overlay != "plain":
        _outline(drawn, tile.position, seen, px)
    return drawn.convert("RGBA")


def _outline(drawn: Image.Image, position: int, seen: Seen, px: int) -> None:
    pen = ImageDraw.Draw(drawn)
    width = max(2, px // 60)
    if position < 0:
        # A prefix token has no position: a tag in the corner.
        words = "CLS" if position == -1 else "register"
        font = ImageFont.load_default(max(10, px // 14))
        left, top, right, bottom = pen.textbbox((0, 0), words, font)
        pad = max(3, px // 50)
        pen.rectangle((0, 0, right - left + 2 * pad, bottom - top + 2 * pad), fill=OUTLINE)
        pen.text((pad - left, pad - top), words, fill=(255, 255, 255), font=font)
    elif seen.side is not None and position < seen.side**2:
        cell = px / seen.side
        row, column = divmod(position, seen.side)
        # A frame around the token, not over it: in a small picture it would hide the token.
        start = (max(round(index * cell) - width, 0) for index in (column, row))
        end = (min(round((index + 1) * cell) - 1 + width, px - 1) for index in (column, row))
        pen.rectangle((*start, *end), outline=OUTLINE, width=width)


@lru_cache(maxsize=2048)
def visible_square(path: Path, stamp: int, view: View, px: int) -> Image.Image | None:
    """Return the part the network saw, px x px; None if the file is not an image. `stamp` is the file's time."""
    try:
        with Image.open(path) as opened:
            # A JPEG is decoded at about the displayed size.
            opened.draft("RGB", (2 * px, 2 * px))
            return view.of(ImageOps.exif_transpose(opened).convert("RGB"), px)
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
        return None


@lru_cache(maxsize=16)
def _placeholder(px: int, words: str) -> Image.Image:
    tile = Image.new("RGBA", (px, px), (*BLANK, 60))
    pen = ImageDraw.Draw(tile)
    pen.rectangle((0, 0, px - 1, px - 1), outline=(*BLANK, 255))
    font = ImageFont.load_default(max(10, px // 14))
    left, top, right, bottom = pen.textbbox((0, 0), words, font)
    pen.text(((px - right + left) / 2, (px - bottom + top) / 2), words, fill=(*BLANK, 255), font=font)
    return tile
