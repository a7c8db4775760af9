"""Files of an image folder: those that can be read here, images that cannot, and all others."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache

from PIL import Image

#: Suffixes that are always read. A file with one of them that cannot be decoded is reported as broken.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")

#: Formats of Pillow and of its plugins (pillow-heif, pillow-jxl-plugin) that hold photographs. The other formats are
#: documents, videos, fonts, icons, arrays, and working files of an editor.
PHOTO_FORMATS = frozenset(
    ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "SUN",
     "TGA", "TIFF", "WEBP")
)  # fmt: skip

#: Images that Pillow reads only with a plugin, or not at all: suffixes, and what to do with the files.
_REMEDIES = {
    ".heic .heif .hif .heics .heifs": "install pillow-heif or convert them",
    ".jxl": "install pillow-jxl-plugin or convert them",
    ".dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .srw": "develop the raw files to JPEG or PNG",
    ".exr .hdr .pfm": "convert them to 8 or 16 bits",
    ".svg .psd .eps .wmf .emf .xcf .fits .fit .dcm .ico .icns .dds": "convert them to JPEG or PNG",
    ".jfif .jpe .avif .jp2 .j2k .jpx .jpf .jpc .qoi .apng .pbm .pnm .tga": "convert them to JPEG or PNG",
}
_REMEDY_OF = {suffix: remedy for suffixes, remedy in _REMEDIES.items() for suffix in suffixes.split()}


def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of the files that are read as images, in lower case with the dot.

    They depend on the installed Pillow and on its plugins: pillow-heif and pillow-jxl-plugin are used if they are
    installed.
    """
    Image.init()
    _register_plugins()
    return _readable(frozenset(Image.OPEN))


@cache
def _register_plugins() -> None:
    """Register the plugins of Pillow that do not register themselves."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")


@cache
def _readable(formats: frozenset[str]) -> frozenset[str]:
    # MPO files (stereo photographs) are opened by the JPEG plugin.
    openable = formats & PHOTO_FORMATS | {"MPO"}
    registered = Image.registered_extensions().items()
    return frozenset(SUFFIXES) | {suffix for suffix, form in registered if form in openable and suffix != ".pfm"}


def is_image(name: str, readable: frozenset[str]) -> bool:
    """Return True if a file name is that of an image with one of the ``readable`` suffixes; hidden files are none."""
    return suffix_of(name) in readable and not name.startswith(".")


def why_skipped(name: str, readable: frozenset[str]) -> str | None:
    """Return the reason why the file ``name`` is skipped although it is an image, or None if it is no image."""
    suffix = suffix_of(name)
    if name.startswith(".") or suffix not in _REMEDY_OF or suffix in readable:
        return None
    return f"Pillow cannot read {suffix} files here: {_REMEDY_OF[suffix]}"


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case, with the dot."""
    _, dot, suffix = name.rpartition(".")
    return f".{suffix}".lower() if dot else ""
