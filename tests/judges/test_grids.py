"""Grids of pictures: their names, their drawing, and the view of an image that the network saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judging_store import pictures
from PIL import Image

from harness.datasets.base import ImageSet
from judges.grids import GRID_PX, TILE_PX, Album, Grid, Tile, TokenPosition
from results.views import View


@pytest.fixture
def images(photo_folder: Path) -> ImageSet:
    return pictures(photo_folder)


def test_a_grid_is_named_by_what_it_shows_and_drawn_once(tmp_path: Path, images: ImageSet) -> None:
    tiles = tuple(Tile(f"c{index}", index) for index in range(9))
    album = Album(images, tmp_path)
    file = album.file(Grid(tiles))
    written = file.stat().st_mtime_ns
    assert album.file(Grid(tiles)) == file and file.stat().st_mtime_ns == written
    with Image.open(file) as drawn:
        assert drawn.size == (GRID_PX, GRID_PX) == (3 * 336, 3 * 336)
    assert Grid(tiles).key != Grid(tiles[::-1]).key != Grid(tiles, View("squash")).key
    assert Grid(tuple(Tile(tile.content, 7) for tile in tiles)).key == Grid(tiles).key
    outlined = Grid(tuple(Tile(f"c{index}", index, TokenPosition(1, 2, 4)) for index in range(9)))
    assert outlined.key != Grid(tiles).key
    corner = album.draw(outlined).getpixel((2 * TILE_PX // 4, TILE_PX // 4))
    assert corner == (255, 0, 255)
    assert album.draw(Grid(tiles[:2])).getpixel((GRID_PX - 1, GRID_PX - 1)) == (128, 128, 128)


def test_the_view_is_the_square_the_network_saw() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[5:35, 25:55] = 255
    assert np.asarray(View("crop", 0.75).of(Image.fromarray(pixels), 30)).min() == 255
    assert np.asarray(View("crop", 1.0).of(Image.fromarray(pixels), 30)).min() == 0
    # Of the whole image, squashed, a margin of an eighth is cut off on every side; padded, it lies between grey bars.
    pixels[:] = 0
    pixels[5:35, 10:70] = 255
    assert np.asarray(View("squash", 0.75).of(Image.fromarray(pixels), 30)).min() > 200
    assert np.asarray(View("squash").of(Image.fromarray(pixels), 30)).min() == 0
    padded = np.asarray(View("border").of(Image.fromarray(pixels), 80))
    assert (padded[:20] == 128).all() and (padded[60:] == 128).all() and padded[40, 40].tolist() == [255] * 3
