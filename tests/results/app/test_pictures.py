"""Overlays of a unit's pictures: a heat map where one is stored, a frame elsewhere, a tag at CLS."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("streamlit")

from results.app.pictures import decode_ahead, embedded, strip
from results.pictures.tiles import PictureTile, Seen

PX = 80


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), (100, 100, 100)).save(tmp_path / "grey.png")
    return tmp_path


def _drawn(folder: Path, tile: PictureTile, **options: Any) -> np.ndarray:
    picture = strip([tile], [folder], Seen(side=4), tile_px=PX, columns=1, **options)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=int)


def _changed(drawn: np.ndarray) -> np.ndarray:
    return np.abs(drawn - 100).sum(axis=2) > 60


def test_a_stored_map_is_drawn_on_the_image(folder: Path) -> None:
    activation = bytes([0] * 15 + [255])
    changed = _changed(_drawn(folder, PictureTile("grey.png", 15, activation=activation)))
    assert changed[-12:, -12:].all() and not changed[:40, :40].any()
    assert not _changed(_drawn(folder, PictureTile("grey.png", 15, activation=activation), overlay="plain")).any()
    frame = _drawn(folder, PictureTile("grey.png", 15, activation=activation), overlay="frame")
    without = _drawn(folder, PictureTile("grey.png", 15))
    assert (frame == without).all() and _changed(frame).any()


def test_opacity_is_the_strength_of_the_heat_map(folder: Path) -> None:
    tile = PictureTile("grey.png", 3, activation=bytes([255] * 16))
    weak, strong = (_drawn(folder, tile, opacity=opacity)[40, 40, 0] for opacity in (0.2, 1.0))
    assert 100 < weak < strong


@pytest.mark.parametrize("position", [-1, -3])
def test_a_maximum_outside_of_the_image_has_a_tag_and_no_heat_map(folder: Path, position: int) -> None:
    changed = _changed(_drawn(folder, PictureTile("grey.png", position, activation=bytes([255] * 16))))
    assert changed[:4, :20].any() and not changed[30:].any()


def test_a_map_of_odd_size_is_drawn_as_far_as_it_is_square(folder: Path) -> None:
    for content in (b"\xff", b"\xff" * 7):
        assert _drawn(folder, PictureTile("grey.png", 0, activation=content)).shape == (PX, PX, 3)


def test_images_are_decoded_ahead_whatever_is_missing(folder: Path) -> None:
    decode_ahead([None, "missing.png", "grey.png", "grey.png"], [folder], Seen(), PX)
    decode_ahead([], [], Seen(), PX)
    assert embedded(b"abc", "png") == "data:image/png;base64,YWJj"
