"""Tint: closed forms on black, white and the colour itself, and the same change at every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from harness.alterations import ALTERATIONS
from harness.alterations.tint import COLOUR, STRENGTHS, Tint


def plain(*colour: int) -> np.ndarray:
    return np.full((4, 4, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize(
    ("severity", "black", "white"),
    [
        (1, (38, 19, 0), (255, 236, 217)),
        (2, (76, 38, 0), (255, 217, 178)),
        (3, (115, 58, 0), (255, 198, 140)),
        (4, (153, 77, 0), (255, 179, 102)),
        (5, (191, 96, 0), (255, 160, 64)),
    ],
)
def test_black_and_white_in_closed_form(severity: int, black: tuple[int, ...], white: tuple[int, ...]) -> None:
    for start, expected in ((0, black), (255, white)):
        altered = Tint(severity).altered(plain(start, start, start), "a.png")
        # Halves are rounded either way in binary.
        assert np.abs(altered.astype(int) - np.asarray(expected)).max() <= 1


def test_the_colour_itself_does_not_change() -> None:
    assert np.array_equal(Tint(5).altered(plain(*COLOUR), "a.png"), plain(*COLOUR))


def test_every_pixel_is_the_mixture_and_the_input_stays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    before = pixels.copy()
    altered = [Tint(severity).altered(pixels, "a.png").astype(float) for severity in STRENGTHS]
    for strength, result in zip(STRENGTHS.values(), altered, strict=True):
        assert np.abs(result - (pixels + strength * (np.asarray(COLOUR) - pixels.astype(float)))).max() <= 0.5 + 1e-9
    distances = [np.abs(result - np.asarray(COLOUR)).sum() for result in altered]
    assert distances == sorted(distances, reverse=True) and len(set(distances)) == 5
    assert np.array_equal(pixels, before)
    assert np.array_equal(Tint(3).altered(pixels, "a.png"), Tint(3).altered(pixels, "b.png"))


def test_it_is_registered() -> None:
    assert ALTERATIONS.get("tint") is Tint
