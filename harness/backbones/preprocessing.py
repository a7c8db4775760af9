"""Preprocessing of images for a backbone: its evaluation transform, and seeded random crops."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.errors import UserError

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
#: Reach of a filter to either side, in source pixels (in target pixels if the image is enlarged).
_REACH = {"bicubic": 2, "bilinear": 1, "lanczos": 3, "nearest": 1, "box": 1, "hamming": 1}
_FITS = ("crop", "squash", "squash_crop", "border")
_CORNERS = ("round", "floor")

#: Smallest and largest area of a random crop, as a fraction of the image's, and its aspect ratios.
CROP_SCALE, CROP_RATIO = (0.25, 1.0), (3 / 4, 4 / 3)

#: An image whose longer side is more than this many times the shorter one is not resized as a whole: at 20 000 x 1 px
#: that would take gigabytes, of which the crop keeps a thousandth.
_ELONGATED = 32


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation transform of a backbone; it is part of every cell's identity.

    Attributes:
        size: side of the square input, in pixels.
        resize: length in pixels, at least ``size``; see ``fit``.
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"lanczos"``, ``"box"`` or ``"hamming"``, all antialiased
            (Pillow's), or ``"nearest"``.
        mean: mean per channel, subtracted from pixel values in [0, 1].
        std: standard deviation per channel, by which the difference is divided.
        fit: how an image becomes square. ``"crop"`` keeps the aspect ratio: the shorter side is resized to ``resize``,
            then the centre is cropped. ``"squash"`` resizes the whole image to ``size`` x ``size`` as SigLIP does, and
            ignores ``resize``. ``"squash_crop"`` resizes it to ``resize`` x ``resize``, then crops the centre (timm's
            ``crop_mode="squash"`` with a ``crop_pct`` below 1). ``"border"`` keeps the aspect ratio and the whole
            image: the longer side is resized to ``resize``, the rest is filled with ``mean``, then the centre is
            cropped (timm's ``crop_mode="border"``).
        corner: rounding of the crop's corner if the margin is odd: ``"round"`` (to even) as in torchvision, ``"floor"``
            as in transformers.
    """

    size: int
    resize: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = "crop"
    corner: str = "round"

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING:
            raise UserError(
                f"The interpolation {self.interpolation!r} is not supported: use {' or '.join(_RESAMPLING)}."
            )
        if self.fit not in _FITS:
            raise UserError(f"The fit {self.fit!r} is not supported: use {' or '.join(_FITS)}.")
        if self.corner not in _CORNERS:
            raise UserError(f"The corner {self.corner!r} is not supported: use {' or '.join(_CORNERS)}.")
        if self.size < 1 or self.resize < self.size:
            raise UserError(
                f"The input side must be at least 1 px and the resized shorter side at least as long: "
                f"size is {self.size}, resize is {self.resize}."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UserError(f"mean and std need three values each, std positive: {self.mean}, {self.std}.")

    def describe(self) -> str:
        """Return the evaluation transform as one short phrase."""
        size, length = self.size, self.resize
        crop = f"{size} px centre crop after resizing"
        geometry = {
            "crop": f"{crop} the shorter side to {length} px",
            "squash": f"whole image resized to {size} x {size} px without keeping its aspect ratio",
            "squash_crop": f"{crop} the whole image to {length} x {length} px without keeping its aspect ratio",
            "border": f"whole image with its longer side resized to {length} px, padded to {max(size, length)} px"
            + (f", {size} px centre crop" if length > size else ""),
        }[self.fit]
        return f"{geometry}, {self.interpolation}, {_statistics(self.mean, self.std)}"

    def center(self, image: Image.Image) -> Tensor:
        """Return the evaluation input (3, size, size) float32: resized as ``fit`` says, centre crop, normalised.

        The longer side is rounded as in torchvision's ``Resize`` (with ``"border"``, as in timm's ``ResizeKeepRatio``),
        the crop's corner as :attr:`corner` states.
        """
        return self.normalised(self.center_pixels(image))

    def center_pixels(self, image: Image.Image) -> np.ndarray:
        """Return the pixels (size, size, 3) uint8 of the evaluation input, which :meth:`normalised` makes a tensor."""
        return np.asarray(self._center_crop(image.convert("RGB")))

    def normalised(self, pixels: np.ndarray) -> Tensor:
        """Return pixels (size, size, 3) uint8 as float32 (3, size, size): divided by 255, less ``mean``, by ``std``."""
        # numpy computes in the calling thread. Threads that decode would each start threads of torch as well.
        channels = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
        mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        channels /= np.float32(255)
        channels -= mean
        channels /= std
        return torch.from_numpy(channels)

    def _center_crop(self, image: Image.Image) -> Image.Image:
        if self.fit == "squash":
            return self._resized(image, (self.size, self.size))
        if self.fit == "squash_crop":
            return self._middle(self._resized(image, (self.resize, self.resize)))
        if self.fit == "border":
            ratio = max(image.size) / self.resize
            width, height = (max(1, round(length / ratio)) for length in image.size)
            return self._middle(self._padded(self._resized(image, (width, height))))
        width, height = image.size
        if width <= height:
            width, height = self.resize, int(self.resize * height / width)
        else:
            width, height = int(self.resize * width / height), self.resize
        if max(image.size) > _ELONGATED * min(image.size):
            corner = self._margin(width), self._margin(height)
            return self._window(image, (width, height), corner)
        return self._middle(self._resized(image, (width, height)))

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image if image.size == size else image.resize(size, _RESAMPLING[self.interpolation])

    def _middle(self, image: Image.Image) -> Image.Image:
        """Return the square of side ``size`` at the centre of an image that is at least as large."""
        left, top = self._margin(image.width), self._margin(image.height)
        return image.crop((left, top, left + self.size, top + self.size))

    def _margin(self, length: int) -> int:
        """Return the margin before the crop along a side of ``length`` pixels."""
        half = (length - self.size) / 2.0
        return math.floor(half) if self.corner == "floor" else round(half)

    def _padded(self, image: Image.Image) -> Image.Image:
        """Return the image, extended to at least ``size`` in each direction by pixels of the colour ``mean``."""
        width, height = max(image.width, self.size), max(image.height, self.size)
        canvas = Image.new("RGB", (width, height), self._fill())
        canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        return canvas

    def _fill(self) -> tuple[int, ...]:
        return tuple(round(255 * value) for value in self.mean)

    def _window(self, image: Image.Image, resized: tuple[int, int], corner: tuple[int, int]) -> Image.Image:
        """Return the square at ``corner`` of the image resized to ``resized``, without computing the other pixels.

        The filter is the same. Pillow chooses by the sizes which direction it resamples first, and rounds to 8 bits in
        between, so single pixels of a noisy image may differ from those of the image resized as a whole.
        """
        spans = []
        for length, target, start in zip(image.size, resized, corner, strict=True):
            scale = length / target
            reach = math.ceil(_REACH[self.interpolation] * max(scale, 1.0)) + 1
            first = max(0, math.floor(start * scale) - reach)
            last = min(length, math.ceil((start + self.size) * scale) + reach)
            # Pillow stores a box in single precision: relative to the cut-out part, its numbers are small and exact.
            spans.append((first, last, start * scale - first, min((start + self.size) * scale - first, last - first)))
        (left, right, x0, x1), (top, bottom, y0, y1) = spans
        part = image.crop((left, top, right, bottom))
        return part.resize((self.size, self.size), _RESAMPLING[self.interpolation], box=(x0, y0, x1, y1))

    def random_resized_crop(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Return :meth:`random_pixels` normalised: (3, size, size) float32."""
        return self.normalised(self.random_pixels(image, generator))

    def random_pixels(self, image: Image.Image, generator: torch.Generator) -> np.ndarray:
        """Return a random box of the image, resized to the input size: (size, size, 3) uint8.

        The distribution is that of torchvision's ``RandomResizedCrop`` (area uniform in :data:`CROP_SCALE`, log aspect
        ratio uniform in :data:`CROP_RATIO`, ten tries, then the largest central box of an allowed ratio), drawn from
        ``generator`` alone. There is no flip. The box is resized to ``size`` x ``size`` with every ``fit``.
        """
        image = image.convert("RGB")
        box = _random_box(image.width, image.height, generator, CROP_SCALE, CROP_RATIO)
        crop = image.crop(box).resize((self.size, self.size), _RESAMPLING[self.interpolation])
        return np.asarray(crop)

    def canonical(self) -> dict[str, Any]:
        """Return a JSON-serialisable description of the transform, for cell identities."""
        values = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        if self.corner == "round":  # the only rounding of earlier versions, whose identities stay as they are
            del values["corner"]
        return values

    def geometry(self) -> dict[str, Any]:
        """Return what determines :meth:`center_pixels`: everything but the normalisation."""
        values = asdict(self)
        del values["mean"], values["std"]
        return {**values, "fill": list(self._fill())} if self.fit == "border" else values


#: Evaluation transform of DINOv2.
IMAGENET_224 = Preprocessing(
    size=224, resize=256, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


_NAMED_STATISTICS: dict[tuple[tuple[float, ...], tuple[float, ...]], str] = {
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "ImageNet mean and std",
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)): "CLIP mean and std",
}


def _statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    if named := _NAMED_STATISTICS.get((mean, std)):
        return named
    numbers = (
        f"{values[0]:.4g}" if len(set(values)) == 1 else f"({', '.join(f'{value:.4g}' for value in values)})"
        for values in (mean, std)
    )
    return "mean {} and std {}".format(*numbers)


def _random_box(
    width: int, height: int, generator: torch.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw (left, top, right, bottom) in pixels, inside the image, at least one pixel in each direction."""
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        draw = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        area = width * height * (scale[0] + (scale[1] - scale[0]) * draw[0])
        aspect = math.exp(log_low + (log_high - log_low) * draw[1])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
