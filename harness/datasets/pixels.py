"""Conversion of decoded images to 8-bit RGB: transparency, and samples of more than 8 bits.

Files with 16 bits per sample often hold fewer: cameras and microscopes write 10, 12 or 14 bits unscaled, which would be
almost black if 65535 were white. No header says so (``sBIT`` of PNG describes samples that were scaled up), and a
single image may really be dark, so the depth is a property of the set: the smallest of 8, 10, 12, 14 and 16 bits that
holds the largest sample of all its 16-bit images.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from harness.datasets.base import ImageRecord, Reader

# Images of 89 to 179 million pixels are read as any others; Pillow refuses larger ones.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_DEPTHS = (8, 10, 12, 14, 16)
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262


class Samples(NamedTuple):
    """Samples of more than 8 bits of an image."""

    bits: int | None
    """bits that the file declares and Pillow does not scale; None if they follow from the set"""
    inverted: bool = False
    """True if 0 is white"""
    colour: bool = False
    """True if Pillow keeps only the upper 8 of 16 bits"""


class SampleDepth:
    """Significant bits per sample of the 16-bit images of a set, found when they are first needed."""

    def __init__(self, records: Sequence[ImageRecord], reader: Reader) -> None:
        self._records = records
        self._reader = reader

    @cached_property
    def bits(self) -> int:
        """Smallest of 8, 10, 12, 14 and 16 that holds the largest sample. The search ends at a sample of 16 bits."""
        largest = 0
        for record in self._records:
            with contextlib.suppress(Exception):  # an image that cannot be decoded is reported when it is opened
                if may_exceed_8_bits(self._reader.head(record, 32)):
                    with self._reader.open(record) as file, Image.open(file) as image:
                        largest = max(largest, _largest_sample(image))
            if largest >= 1 << _DEPTHS[-2]:
                break
        # The depth is unknown if all samples are 0 or no image can be decoded.
        return next(bits for bits in _DEPTHS if largest < 1 << bits) if largest else 16

    def rescaling(self, record: ImageRecord, data: bytes) -> str:
        """Return a text for the identity of an image that is scaled otherwise than by ``>> 8``, else an empty one.

        Args:
            data: first bytes of the image.
        """
        if not may_exceed_8_bits(data):
            return ""
        try:
            with self._reader.open(record) as file, Image.open(file) as image:
                samples = samples_of(image)
        except Exception:  # reported as broken when it is opened
            return ""
        if samples is None:
            return ""
        bits = self.bits if samples.bits is None else samples.bits
        return f"|{bits} bits{', inverted' * samples.inverted}|" if bits != 16 or samples.inverted else ""


def may_exceed_8_bits(head: bytes) -> bool:
    """Return True if the first 32 bytes of a file are those of a PNG with 16 bits per sample, or of a TIFF."""
    return (head.startswith(_PNG) and head[24:25] == b"\x10") or head.startswith(_TIFF)


def samples_of(image: Image.Image) -> Samples | None:
    """Return what is known of an image's samples without decoding it; None for 8 bits and for 32-bit numbers."""
    grey = image.mode.startswith("I;16")
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]  # of TiffImageFile
        declared = max(tags.get(_BITS_PER_SAMPLE, (1,)))
        if image.mode != "I" and (declared <= 8 or declared > 16):
            return None
        # Pillow inverts 8-bit images with a white 0, but not those of 16 bits.
        inverted = grey and tags.get(_PHOTOMETRIC) == 0
        return Samples(None if declared >= 16 else declared, inverted, colour=not grey and image.mode != "I")
    if image.format == "PNG":
        bits_16 = grey or image.mode == "I" or any(";16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
        return Samples(None, colour=not grey and image.mode != "I") if bits_16 else None
    # Pillow scales the samples of other formats to 16 bits.
    return Samples(16) if grey or (image.format == "PPM" and image.mode == "I") else None


def _largest_sample(image: Image.Image) -> int:
    samples = samples_of(image)
    if samples is None or samples.bits is not None:
        return 0
    values = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        values = values[..., :-1]  # opaque is the largest number, whatever the depth of the colours
    largest = int(values.max(initial=0))
    # Images of 32-bit numbers above 16 bits are refused, so they say nothing of the others.
    return 0 if largest >= 1 << 16 else largest << 8 if samples.colour else largest


def as_rgb(image: Image.Image, depth: SampleDepth) -> Image.Image:
    """Return an image as 8-bit RGB, upright (EXIF), with transparent pixels on white.

    Raises:
        ValueError: if it is unknown which value is white, with a sentence.
    """
    samples = samples_of(image)
    upright = ImageOps.exif_transpose(image)
    if samples is None and upright.mode not in ("I", "F"):
        return _on_white(upright)
    values = np.asarray(upright)
    if upright.mode in ("I", "F") and not (samples and (samples.bits or _fits_16_bits(values))):
        # The value that means white is unknown; Pillow would clip at 0 and 255 and give black or white.
        raise ValueError(f"its pixels are 32-bit numbers (mode {upright.mode}): save it with 8 or 16 bits")
    assert samples is not None
    bits = depth.bits if samples.bits is None else samples.bits
    if samples.colour:
        if bits < 16:
            raise ValueError(f"its 16-bit colours hold {bits}-bit values, almost black: convert it to 8 bits")
        return _on_white(upright)
    # Pillow's own conversion clips at 255, which turns nearly every 16-bit image white.
    scaled = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    return Image.fromarray(255 - scaled if samples.inverted else scaled).convert("RGB")


def _fits_16_bits(values: np.ndarray) -> bool:
    """Return True if numbers of 32 bits are samples of 16 bits: older versions of Pillow open 16-bit PNG so."""
    return bool(255 < values.max() < 1 << 16 and values.min() >= 0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
