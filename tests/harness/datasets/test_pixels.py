"""Samples of more than 8 bits: no picture is silently black, white or inverted."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.datasets.base import BrokenImageError, ImageRecord, ImageSet

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def image_set(folder: Path, **files: bytes) -> ImageSet:
    """Return the set of the files, named by letters, in their order."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return ImageSet("made", tuple(ImageRecord(name, folder / name, None) for name in sorted(files)), ())


def pixels(images: ImageSet, index: int = 0) -> np.ndarray:
    return np.asarray(images.open(index))[:, :, 0]


def encoded(values: np.ndarray, suffix: str = ".png") -> bytes:
    """Return 16-bit values (h, w) or (h, w, 3) as a file without any scaling."""
    return cv2.imencode(suffix, values.astype(np.uint16))[1].tobytes()


def tiff(values: np.ndarray, *, bits: int, white_is_zero: bool = False) -> bytes:
    """Return an uncompressed little-endian grey TIFF; rows of 12-bit samples are packed as the standard asks."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    else:
        data = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def fingerprint_of_the_first_version(images: ImageSet) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for record in images.records:
        data = record.path.read_bytes()
        digest.update(f"{len(record.name)}|{record.name}|{record.label}|{len(data)}|".encode() + data)
    return f"content:{digest.hexdigest()}"


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_any_depth_becomes_the_same_picture(tmp_path, bits, suffix):
    images = image_set(tmp_path, a=encoded(RAMP << (bits - 8), suffix))
    np.testing.assert_array_equal(pixels(images), RAMP)
    assert (images.fingerprint == fingerprint_of_the_first_version(images)) == (bits == 16)


def test_the_depth_belongs_to_the_set_and_its_subsets(tmp_path):
    images = image_set(tmp_path, a=encoded(RAMP << 2), b=encoded(RAMP << 4), c=encoded(RAMP[:, ::-1] << 3))
    subset = images.subset([0, 2])
    assert images.sample_depth.bits == subset.sample_depth.bits == 12
    np.testing.assert_array_equal(pixels(subset), RAMP >> 2)
    bright = image_set(tmp_path, a=encoded(RAMP), b=b"no image", c=encoded(RAMP << 8))
    assert pixels(bright).max() == 0 and bright.fingerprint == fingerprint_of_the_first_version(bright)


def test_one_bright_image_ends_the_search(tmp_path):
    images = image_set(tmp_path, a=encoded(RAMP << 8), b=encoded(RAMP))
    opened: list[str] = []
    reader = images.reader

    class Counting(type(reader)):
        def open(self, record: ImageRecord):
            opened.append(record.name)
            return super().open(record)

    counted = ImageSet("made", images.records, (), Counting())
    assert counted.sample_depth.bits == 16 and opened == ["a"]


def test_the_declared_depth_and_white_of_a_tiff_are_used(tmp_path):
    images = image_set(
        tmp_path,
        a=tiff(RAMP << 4, bits=12),
        b=tiff((255 - RAMP) << 8, bits=16, white_is_zero=True),
        c=tiff(RAMP << 8, bits=16),
    )
    for index in range(3):
        np.testing.assert_array_equal(pixels(images, index), RAMP)
    fingerprints = [images.subset([index]).fingerprint for index in range(3)]
    old = [fingerprint_of_the_first_version(images.subset([index])) for index in range(3)]
    assert [new == before for new, before in zip(fingerprints, old, strict=True)] == [False, False, True]


@pytest.mark.parametrize("opaque", [0xFFFF, 0xFFF])
def test_transparency_says_nothing_of_the_depth(tmp_path, opaque):
    colours = np.stack([RAMP << 4, RAMP << 4, RAMP << 4, np.full_like(RAMP, opaque)], axis=-1)
    with pytest.raises(BrokenImageError, match="16-bit colours hold 12-bit values"):
        image_set(tmp_path, a=encoded(colours)).open(0)


def test_sixteen_bit_colours_are_read_or_refused(tmp_path):
    colours = np.stack([RAMP, RAMP, RAMP], axis=-1)
    bright = image_set(tmp_path, a=encoded(colours << 8))
    np.testing.assert_array_equal(pixels(bright), RAMP)
    assert bright.fingerprint == fingerprint_of_the_first_version(bright)
    for suffix in (".png", ".tiff"):
        dark = image_set(tmp_path, a=encoded(colours << 4, suffix))
        with pytest.raises(BrokenImageError, match="16-bit colours hold 12-bit values"):
            dark.open(0)


def test_sixteen_bit_grey_map_is_scaled_by_its_own_maximum(tmp_path):
    header = b"P5 16 16 4095\n"
    images = image_set(tmp_path, a=header + (RAMP << 4).astype(">u2").tobytes())
    assert np.abs(pixels(images).astype(int) - RAMP).max() <= 1
    assert images.fingerprint == fingerprint_of_the_first_version(images)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LA", "PNG"), ("RGBA", "WEBP"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"),
        ("1", "TIFF"), ("1", "PPM"), ("L", "JPEG"), ("L", "JPEG2000"), ("RGB", "AVIF"), ("RGB", "JPEG2000"),
        ("RGBA", "TIFF"), ("RGB", "MPO"), ("RGB", "QOI"), ("RGB", "TGA"), ("I;16", "JPEG2000"), ("YCbCr", "TIFF"),
    ],
)  # fmt: skip
def test_every_mode_and_format_keeps_its_brightness(tmp_path, mode, form):
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {form}")
    if mode == "I;16":
        picture = Image.fromarray(np.tile(np.arange(0, 65536, 1024, dtype=np.uint16), (64, 1)))
    else:
        picture = Image.linear_gradient("L").resize((64, 64)).rotate(90).convert("RGB").convert(mode)
    file = io.BytesIO()
    picture.save(file, format=form)
    grey = pixels(image_set(tmp_path, a=file.getvalue()))
    assert grey[:, :8].mean() < 32 and grey[:, -8:].mean() > 223, (grey[:, :8].mean(), grey[:, -8:].mean())
    assert 100 < grey.mean() < 156


def test_transparency_of_palettes_and_keys_is_put_on_white(tmp_path):
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    for name, picture, key in (("a", palette, 0), ("b", Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
                               ("c", Image.new("L", (4, 4), 5), 5), ("d", Image.new("1", (4, 4), 0), 0)):  # fmt: skip
        file = io.BytesIO()
        picture.save(file, format="PNG", transparency=key)
        assert image_set(tmp_path, **{name: file.getvalue()}).open(0).getpixel((0, 0)) == (255, 255, 255), name
