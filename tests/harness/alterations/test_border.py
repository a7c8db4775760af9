"""Border: its width in closed form, the pixels inside it, and small images."""

from __future__ import annotations

import numpy as np
import pytest

from harness.alterations import ALTERATIONS
from harness.alterations.border import COLOUR, Border

PIXELS = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)


def is_border(altered: np.ndarray) -> np.ndarray:
    return (altered == np.asarray(COLOUR)).all(-1)


@pytest.mark.parametrize(("severity", "width"), [(1, 3), (2, 7), (3, 14), (4, 21), (5, 28)])
def test_the_frame_has_the_stated_width_and_the_inner_pixels_stay(severity: int, width: int) -> None:
    before = PIXELS.copy()
    altered = Border(severity).altered(PIXELS, "a.png")
    inside = np.zeros((224, 224), dtype=bool)
    inside[width:-width, width:-width] = True
    # No pixel of the image is magenta: the largest sample is 254.
    assert np.array_equal(is_border(altered), ~inside)
    assert np.array_equal(altered[inside], PIXELS[inside]) and np.array_equal(PIXELS, before)


def test_nothing_is_drawn_and_applying_it_twice_changes_nothing_more() -> None:
    once = Border(4).altered(PIXELS, "a.png")
    assert np.array_equal(once, Border(4).altered(PIXELS, "b.png"))
    assert np.array_equal(once, Border(4).altered(once, "a.png"))


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_the_frame_of_a_small_image_has_one_pixel(side: int) -> None:
    altered = Border(3).altered(PIXELS[:side, :side], "a.png")
    assert int((~is_border(altered)).sum()) == max(0, side - 2) ** 2


def test_it_is_registered() -> None:
    assert ALTERATIONS.get("border") is Border
