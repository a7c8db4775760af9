"""Heat map of a unit over an image: nothing where it is silent, brighter where it is stronger, in the right place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from results.pictures.heat_map import heat_layer, heat_map

SIDE = 4
GREY = Image.new("RGB", (80, 80), (128, 128, 128))


def _drawn(activation: np.ndarray, **options: float) -> np.ndarray:
    return np.asarray(heat_map(GREY, activation, **options), dtype=np.int64)


def test_a_silent_unit_leaves_the_image_as_it_is() -> None:
    assert (_drawn(np.zeros((SIDE, SIDE), np.uint8)) == 128).all()
    assert (_drawn(np.full((SIDE, SIDE), 255, np.uint8), opacity=0.0) == 128).all()


def test_the_colour_lies_where_the_unit_is_active_and_fades_smoothly() -> None:
    activation = np.zeros((SIDE, SIDE), np.uint8)
    # Second row, last column: 20 px per cell.
    activation[1, 3] = 255
    changed = np.abs(_drawn(activation) - 128).sum(axis=2)
    assert changed[20:40, 60:].min() > 0
    assert changed[:, :40].max() == 0 and changed[60:].max() == 0
    # Along the row the change rises without a jump from one pixel to the next.
    row = _drawn(activation)[30]
    assert np.abs(np.diff(row, axis=0)).max() < 60


def test_a_stronger_activation_is_lighter() -> None:
    levels = [_drawn(np.full((SIDE, SIDE), level, np.uint8), opacity=1.0)[0, 0] for level in (100, 150, 200, 255)]
    lightness = [float(np.dot(level, (0.2126, 0.7152, 0.0722))) for level in levels]
    assert lightness == sorted(lightness) and lightness[-1] > 200
    assert tuple(levels[-1]) == (252, 255, 164)


def test_the_layer_over_the_image_is_the_heat_map() -> None:
    activation = np.arange(0, 256, 16, dtype=np.uint8).reshape(SIDE, SIDE)
    layer = heat_layer(activation, GREY.size)
    assert layer.mode == "RGBA" and layer.size == GREY.size
    over = np.asarray(Image.alpha_composite(GREY.convert("RGBA"), layer).convert("RGB"), dtype=np.int64)
    assert np.abs(over - _drawn(activation)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
@pytest.mark.parametrize("size", [(1, 1), (30, 50)])
def test_any_image_and_any_grid_are_drawn(mode: str, size: tuple[int, int]) -> None:
    for side in (1, 16):
        drawn = heat_map(Image.new(mode, size), np.full((side, side), 255, np.uint8))
        assert drawn.size == size and drawn.mode == "RGB"
