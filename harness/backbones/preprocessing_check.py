"""Comparison of a :class:`Preprocessing` with a model's own transform on test images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from harness.backbones.preprocessing import Preprocessing
from methods.errors import UserError, first_line

#: Width and height of the test images: landscape, portrait, and smaller than any usual input. No side is a multiple of
#: another one, so that sizes rounded differently show.
_SIZES = ((641, 427), (403, 611), (97, 61))
#: Share of a side that the frame takes on either end.
_FRAME = 0.05
_FRAME_COLOUR = (230, 60, 20)
#: Share of the image by which two regions must differ to be named as the difference.
_REGION_TOLERANCE = 0.005

Transform = Callable[[Image.Image], Tensor]


class _Region(NamedTuple):
    """Part of the image that an input shows, as fractions of its width and height; outside of 0 to 1 is padding."""

    left: float
    right: float
    top: float
    bottom: float

    def __str__(self) -> str:
        return (
            f"{100 * self.left:.1f} to {100 * self.right:.1f} % of the width and {100 * self.top:.1f} to "
            f"{100 * self.bottom:.1f} % of the height"
        )


@functools.cache
def framed_test_images() -> tuple[Image.Image, ...]:
    """Return seeded test images: a coloured frame of 5 % around uniform noise per pixel.

    There is a landscape, a portrait and a small landscape image. A lost margin, another crop, another resampling filter
    and another normalisation each change many values by far more than rounding does.
    """
    generator = torch.Generator().manual_seed(0)
    return tuple(_framed(width, height, generator) for width, height in _SIZES)


def require_same_input(preprocessing: Preprocessing, reference: Transform, *, spec: str, tolerance: float) -> None:
    """Check that ``preprocessing.center`` equals ``reference`` on :func:`framed_test_images`.

    Args:
        preprocessing: the transform that the harness applies.
        reference: the model's own transform, from an RGB image to a tensor (3, S, S).
        spec: name of the model in messages.
        tolerance: largest allowed difference of one value, in normalised units (an 8-bit level is ``1 / 255 / std``).

    Raises:
        UserError: if a value differs by more than ``tolerance``, or the reference fails; the message names the step
            that differs: input size, normalisation, the region that is shown, or the resampling filter.
    """
    for image in framed_test_images():
        actual = preprocessing.center(image)
        try:
            expected = reference(image.copy())
        except Exception as error:  # whatever the library's transform raises
            raise UserError(
                f"The preprocessing of {spec!r} fails on an RGB image of {image.width} x {image.height} px "
                f"({first_line(error)}): use another model."
            ) from error
        # "not <=" instead of ">": a NaN in either tensor is a difference.
        if expected.shape != actual.shape or not (actual - expected).abs().max() <= tolerance:
            difference = _difference(preprocessing, reference, image.size, expected, actual, tolerance)
            raise UserError(
                f"The preprocessing of {spec!r} is not supported, because the harness would give the model other "
                f"inputs than its own transform does. {difference} Use another model."
            )


def _framed(width: int, height: int, generator: torch.Generator) -> Image.Image:
    image = Image.new("RGB", (width, height), _FRAME_COLOUR)
    left, top = round(width * _FRAME), round(height * _FRAME)
    shape = (height - 2 * top, width - 2 * left, 3)
    noise = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    image.paste(Image.fromarray(noise.numpy()), (left, top))
    return image


def _difference(
    preprocessing: Preprocessing,
    reference: Transform,
    size: tuple[int, int],
    expected: Tensor,
    actual: Tensor,
    tolerance: float,
) -> str:
    """Return a sentence on the first step that differs."""
    if expected.shape != actual.shape:
        return f"Input size: the model's is {tuple(expected.shape)}, the harness's is {tuple(actual.shape)}."
    for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0)):
        flat = Image.new("RGB", size, colour)
        expected_pixel, actual_pixel = (_middle(transform(flat)) for transform in (reference, preprocessing.center))
        if not (expected_pixel - actual_pixel).abs().max() <= tolerance:
            values = " and ".join(
                f"({', '.join(f'{value:.4g}' for value in pixel)})" for pixel in (expected_pixel, actual_pixel)
            )
            return f"Normalisation: the colour {colour} becomes {values}, the model's first."
    expected_region, actual_region = (_region(each, preprocessing, size) for each in (reference, preprocessing.center))
    if max(abs(a - b) for a, b in zip(expected_region, actual_region, strict=True)) > _REGION_TOLERANCE:
        return f"Resizing and cropping: the model's input shows {expected_region}, the harness's {actual_region}."
    largest = float((actual - expected).abs().max())
    return (
        f"Resampling: the filter (interpolation, antialiasing) differs, or the crop by up to a pixel; values differ by "
        f"up to {largest:.2g}, and {tolerance:.2g} is allowed."
    )


def _middle(values: Tensor) -> Tensor:
    return values[:, values.shape[1] // 2, values.shape[2] // 2]


def _region(transform: Transform, preprocessing: Preprocessing, size: tuple[int, int]) -> _Region:
    """Measure which part of an image of ``size`` (width, height) the transform shows, by a ramp in each direction."""
    width, height = size
    columns = torch.linspace(0, 255, width).round().expand(height, width)
    rows = torch.linspace(0, 255, height).round()[:, None].expand(height, width)
    ramps = torch.stack([columns, rows, torch.zeros(height, width)], dim=2).to(torch.uint8)
    values = transform(Image.fromarray(ramps.numpy()))
    mean, std = torch.tensor(preprocessing.mean).view(3, 1, 1), torch.tensor(preprocessing.std).view(3, 1, 1)
    pixels = values * std + mean
    return _Region(*_ends(pixels[0]), *_ends(pixels[1].T))


def _ends(ramp: Tensor) -> tuple[float, float]:
    """Return the position at both ends of the rows of ``ramp`` (S, S), by a line through its middle quarter."""
    side = ramp.shape[1]
    middle = slice(side // 4, max(side - side // 4, side // 4 + 2))
    line = ramp[middle, middle].mean(0).double()
    index = torch.arange(side, dtype=torch.float64)[middle] + 0.5
    centred = index - index.mean()
    slope = float((centred * line).sum() / (centred**2).sum())
    start = float(line.mean() - slope * index.mean())
    return start, start + slope * side
