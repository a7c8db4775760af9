"""Corruptions: closed forms, severities in order, and the same pixels for the same name."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from harness.alterations import ALTERATIONS
from harness.metrics.robust_corruption import CORRUPTIONS, SEVERITIES

PIXELS = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
GREY = np.full((224, 224, 3), 128, np.uint8)


def smooth() -> np.ndarray:
    """An image with structure at all scales, without values near the ends."""
    generator = np.random.default_rng(1)
    image = np.zeros((112, 112, 3))
    for width in (0.5, 1, 2, 4, 8):
        field = gaussian_filter(generator.normal(size=(112, 112, 3)), (width, width, 0))
        image += 15 * field / field.std()
    return (128 + image).clip(20, 235).astype(np.uint8)


def altered(name: str, severity: int, pixels: np.ndarray) -> np.ndarray:
    return ALTERATIONS.get(name)(severity).altered(pixels, "a.png")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_is_further_from_the_image(name: str) -> None:
    image = smooth()
    distances = [np.abs(altered(name, severity, image) - image.astype(float)).mean() for severity in SEVERITIES]
    assert distances[0] > 0 and distances == sorted(distances) and len(set(distances)) == 5


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("side", [1, 8, 56])
def test_the_result_is_repeated_and_the_image_is_not_changed(name: str, side: int) -> None:
    image = PIXELS[:side, :side].copy()
    image.setflags(write=False)
    first = altered(name, 3, image)
    assert first.dtype == np.uint8 and first.shape == image.shape
    assert (first == altered(name, 3, image)).all() and (image == PIXELS[:side, :side]).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_variance_and_the_mean_that_are_stated(severity: int) -> None:
    noisy = altered("gaussian_noise", severity, GREY).astype(float) / 255
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    difference = noisy - 128 / 255
    assert abs(difference.mean()) < 0.01
    if severity <= 2:  # later, values are clipped
        assert difference.std() == pytest.approx(deviation, rel=0.01)
    clipped = np.clip(128 / 255 + np.random.default_rng(0).normal(0, deviation, 400_000), 0, 1)
    assert noisy.std() == pytest.approx(clipped.std(), rel=0.01)
    assert abs(np.corrcoef(difference[:, :-1].ravel(), difference[:, 1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_keeps_means_and_a_constant_image_and_scales_with_the_side(severity: int) -> None:
    blurred = altered("gaussian_blur", severity, PIXELS)
    np.testing.assert_allclose(blurred.mean((0, 1)), PIXELS.mean((0, 1)), atol=0.1)
    # At 56 px, the kernel of the lowest severity is a quarter of a pixel wide.
    assert blurred.std() < PIXELS.std() or severity == 1
    assert (altered("gaussian_blur", severity, GREY) == 128).all()
    point = np.zeros((448, 448, 3), np.uint8)
    point[220:228, 220:228] = 255
    share = altered("gaussian_blur", severity, point)[..., 0].astype(float)
    rows = np.arange(448) - 223.5
    variance = (share.sum(1) * rows**2).sum() / share.sum()
    # That of eight pixels, plus that of the kernel, twice as wide as at 224 px; rounding cuts the tails off.
    expected = (8**2 - 1) / 12 + (2 * (1, 2, 3, 4, 6)[severity - 1]) ** 2
    assert variance == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_scales_distances_to_the_mean(severity: int) -> None:
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    means = PIXELS.mean((0, 1))
    expected = means + kept * (PIXELS - means)
    np.testing.assert_allclose(altered("contrast", severity, PIXELS), expected, atol=0.51)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_keeps_hue_and_saturation(severity: int) -> None:
    import colorsys

    added = severity / 10
    bright = altered("brightness", severity, PIXELS)
    for row, column in [(0, 0), (3, 7), (10, 50), (31, 31), (55, 1)]:
        hue, saturation, value = colorsys.rgb_to_hsv(*(PIXELS[row, column] / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))
        np.testing.assert_allclose(bright[row, column] / 255, expected, atol=0.6 / 255)
    np.testing.assert_allclose(altered("brightness", severity, np.zeros((4, 4, 3), np.uint8)), 255 * added, atol=0.51)
    assert (altered("brightness", severity, np.full((4, 4, 3), 255, np.uint8)) == 255).all()


def test_pixelation_averages_blocks() -> None:
    image = PIXELS[:8, :8]
    # A quarter of the side: blocks of 4 x 4.
    coarse = altered("pixelate", 5, image)
    blocks = image.reshape(2, 4, 2, 4, 3).mean((1, 3))
    np.testing.assert_allclose(coarse, np.kron(blocks, np.ones((4, 4, 1))), atol=1)  # rounded twice
    assert len(np.unique(altered("pixelate", 1, PIXELS)[..., 0], axis=0)) == int(56 * 0.6)


def test_they_are_listed() -> None:
    from harness.listing import listing

    rows = {row["name"]: row for row in listing("alterations")}
    assert set(CORRUPTIONS) <= set(rows)
    assert rows["contrast"]["severities"] == "1, 2, 3, 4, 5" and rows["contrast"]["title"] == "reduced contrast"
