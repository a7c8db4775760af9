"""Grids: the nine images of a unit, named by their content and rendered once.

A grid is *described* before it is drawn: the images (by the hash of their bytes), the part of each that the network
saw, and the outlines. Its key is the hash of that description. So no drawing is needed to find out whether two units
show the same grid, or whether a reply already exists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw

from results.atomic import partial_file
from results.views import BLANK, CENTRE, View

#: Raise it when the same description is drawn differently.
RENDER_VERSION = 1
SIDE = 3
N_TILES = SIDE * SIDE
#: Pixels per cell, as in the paper.
TILE_PX = 336
GRID_PX = SIDE * TILE_PX
OUTLINE = (255, 0, 255)
JPEG_QUALITY = 95


class ImageSource(Protocol):
    """Interface of a source of images; an image set of the harness is one."""

    def open(self, index: int) -> Image.Image:
        """Return the image at ``index``, RGB."""


@dataclass(frozen=True)
class TokenPosition:
    """One token of a square layout of tokens."""

    row: int
    column: int
    side: int


@dataclass(frozen=True)
class Tile:
    """One cell of a grid."""

    content: str
    """hash of the image's encoded bytes"""
    index: int
    """index of the image in its set; not part of the grid's key"""
    token: TokenPosition | None = None
    """the token to outline"""


@dataclass(frozen=True)
class Grid:
    """Up to nine tiles, strongest first, row by row; a cell without a tile is grey."""

    tiles: tuple[Tile, ...]
    view: View = CENTRE
    side: int = SIDE
    """cells along a side; 1 for a single image"""

    @cached_property
    def key(self) -> str:
        """20 hexadecimal digits that identify the content of the grid."""
        described: dict[str, Any] = {
            "render": RENDER_VERSION,
            "px": TILE_PX,
            "view": asdict(self.view),
            "tiles": [[tile.content, asdict(tile.token) if tile.token else None] for tile in self.tiles],
        }
        if self.side != SIDE:
            # Not a part of the description of other grids, whose keys stay as they were.
            described["side"] = self.side
        text = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def content_hash(data: bytes) -> str:
    """Return the name of an image: the BLAKE2b hash of its encoded bytes."""
    return hashlib.blake2b(data, digest_size=10).hexdigest()


class Album:
    """Renderer of tiles and grids of one image set; keeps grids as files.

    Args:
        images: the set that ``Tile.index`` points into.
        folder: folder of the grids, with ``<key>.jpg`` in a subfolder for each first two digits; created when needed.
    """

    def __init__(self, images: ImageSource, folder: str | Path) -> None:
        self._images = images
        self.folder = Path(folder)
        # 336 x 336 px are 340 kB; the same strong images occur again and again.
        self._drawn = lru_cache(maxsize=256)(self._draw)

    def tile(self, tile: Tile, view: View) -> Image.Image:
        """Draw one cell, 336 x 336 px, with its outline.

        Raises:
            BrokenImageError: the image cannot be read (the exception that the image set raises).
        """
        return self._drawn(tile, view)

    def path(self, grid: Grid) -> Path:
        """Return where the file of a grid is, or will be."""
        return self.folder / grid.key[:2] / f"{grid.key}.jpg"

    def file(self, grid: Grid) -> Path:
        """Return the file of the rendered grid; draw it if it does not exist yet."""
        path = self.path(grid)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial_file(path) as partial:
                # A photograph as PNG is five times as large; at this quality without chroma subsampling, no artefacts
                # are visible.
                self.draw(grid).save(partial, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return path

    def draw(self, grid: Grid) -> Image.Image:
        """Draw the grid, 336 px per cell."""
        canvas = Image.new("RGB", (grid.side * TILE_PX, grid.side * TILE_PX), BLANK)
        for number, tile in enumerate(grid.tiles[: grid.side**2]):
            row, column = divmod(number, grid.side)
            canvas.paste(self.tile(tile, grid.view), (column * TILE_PX, row * TILE_PX))
        return canvas

    def _draw(self, tile: Tile, view: View) -> Image.Image:
        drawn = view.of(self._images.open(tile.index), TILE_PX)
        if tile.token is not None:
            cell = TILE_PX / tile.token.side
            left, top = round(tile.token.column * cell), round(tile.token.row * cell)
            box = (left, top, round(left + cell) - 1, round(top + cell) - 1)
            ImageDraw.Draw(drawn).rectangle(box, outline=OUTLINE, width=3)
        return drawn


def grid_of(
    contents: Sequence[str], indices: Sequence[int], tokens: Sequence[TokenPosition | None], view: View
) -> Grid:
    """Return the grid of the first nine images given."""
    tiles = [Tile(*parts) for parts in zip(contents, indices, tokens, strict=True)]
    return Grid(tuple(tiles[:N_TILES]), view)
