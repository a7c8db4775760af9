"""Files that are damaged, unusual or no images, written under the name of an image."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

#: Writes a file; draws are from the generator.
Write = Callable[[Path, random.Random], None]


def _encoded(form: str, mode: str = "RGB", size: tuple[int, int] = (40, 36), **options: object) -> bytes:
    generator = np.random.default_rng(len(form) + len(mode))
    channels = {"L": (), "P": (), "1": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    pixels = generator.integers(0, 255, (size[1], size[0], *channels), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode) if mode in ("P", "1") else Image.fromarray(pixels, mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _encoded_array(values: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *, bits: int = 8, colour: int = 2, before: bytes = b"") -> bytes:
    """Return a PNG file with a given header, whose compressed samples are ``data`` (uncompressed here)."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def _frames(form: str, count: int) -> bytes:
    frames = [Image.new("RGB", (30, 30), (index * 20 % 256, 0, 90)) for index in range(count)]
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _text_bomb(size: int) -> bytes:
    packed = zlib.compress(bytes(size))
    return _chunk(b"zTXt", b"Comment\0\0" + packed)


#: Content of a file that can be read as an image.
GOOD: dict[str, Callable[[], bytes]] = {
    "CMYK JPEG": lambda: _encoded("JPEG", "CMYK"),
    "grey JPEG": lambda: _encoded("JPEG", "L"),
    "progressive JPEG": lambda: _encoded("JPEG", progressive=True),
    "palette PNG": lambda: _encoded("PNG", "P"),
    "palette PNG with transparency": lambda: _encoded("PNG", "P", transparency=bytes(range(0, 256))),
    "one bit PNG": lambda: _encoded("PNG", "1"),
    "grey and alpha PNG": lambda: _encoded("PNG", "LA"),
    "transparent PNG": lambda: _encoded("PNG", "RGBA"),
    "16 bit grey PNG": lambda: _encoded_array(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40, "PNG"),
    "16 bit colour PNG": lambda: png(30, 30, (b"\0" + bytes(range(180))) * 30, bits=16),
    "animated GIF": lambda: _frames("GIF", 12),
    "animated WebP": lambda: _frames("WEBP", 5),
    "animated PNG": lambda: _frames("PNG", 4),
    "TIFF of several pages": lambda: _frames("TIFF", 3),
    "EXIF orientation 6": lambda: _encoded("JPEG", exif=_exif(6)),
    "EXIF orientation 77": lambda: _encoded("JPEG", exif=_exif(77)),
    "EXIF of garbage": lambda: _encoded("JPEG", exif=b"Exif\0\0" + bytes(range(200))),
    "colour profile of garbage": lambda: _encoded("JPEG", icc_profile=bytes(300)),
    "one pixel": lambda: _encoded("PNG", size=(1, 1)),
    "very wide": lambda: _encoded("PNG", size=(6000, 1)),
    "very high": lambda: _encoded("PNG", size=(1, 6000)),
    "garbage after the end": lambda: _encoded("JPEG") + os.urandom(0) + bytes(5000),
    "large, 100 million pixels": lambda: png(10_000, 10_000, bytes(10_001 * 10_000), colour=0),
}

#: Content of a file that cannot be read as an image, or not without a guess.
BROKEN: dict[str, Callable[[], bytes]] = {
    "no bytes": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"keine Bilder hier\n" * 50,
    "HTML page": lambda: b"<!doctype html><html><body>404</body></html>",
    "Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "zeros": lambda: bytes(20_000),
    "PDF": lambda: b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n",
    "header only": lambda: _encoded("PNG")[:33],
    "900 million pixels declared": lambda: png(30_000, 30_000, b"\0"),
    "4 billion pixels a side": lambda: png(2**31 - 1, 2**31 - 1, b"\0"),
    "no pixels": lambda: png(0, 0, b""),
    "text bomb of 300 MB": lambda: png(4, 4, (b"\0" + bytes(12)) * 4, before=_text_bomb(300_000_000)),
    "colour type that does not exist": lambda: png(4, 4, bytes(52), colour=5),
    "floating point TIFF": lambda: _encoded_array(np.linspace(0, 1, 900, dtype=np.float32).reshape(30, 30), "TIFF"),
    "32 bit TIFF": lambda: _encoded_array(np.arange(900, dtype=np.int32).reshape(30, 30) * 99_999, "TIFF"),
}


def damaged(form: str, number: int) -> Callable[[random.Random], bytes]:
    """Return a function that cuts off a file, or changes some of its bytes."""

    def content(draw: random.Random) -> bytes:
        data = bytearray(_encoded(form, size=(120, 90)))
        if number % 3 == 0:
            return bytes(data[: draw.randrange(1, len(data))])
        for _ in range(draw.choice([1, 4, 40])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)

    return content


def _fifo(file: Path) -> None:
    os.mkfifo(file)


def _to(target: str) -> Callable[[Path], None]:
    return functools.partial(lambda target, file: file.symlink_to(target), target)


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _folder(file: Path) -> None:
    file.mkdir()


def _huge(file: Path) -> None:
    """A sparse file of 20 GB that starts like a PNG."""
    with open(file, "wb") as handle:
        handle.write(b"\x89PNG\r\n\x1a\n")
        handle.truncate(20 * 10**9)


#: What lies under the name of an image and is no file of image data.
SPECIAL: dict[str, Callable[[Path], None]] = {
    "named pipe": _fifo,
    "link to /dev/zero": _to("/dev/zero"),
    "link to /dev/random": _to("/dev/random"),
    "link to /proc/self/mem": _to("/proc/self/mem"),
    "link to itself": _loop,
    "link to nothing": _to("nothing.png"),
    "folder": _folder,
    "sparse file of 20 GB": _huge,
}
