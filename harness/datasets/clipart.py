"""Drawings of the Open Clip Art Library 0.18, in groups of classes: ``clipart``, or ``clipart:PATH``.

Debian's package ``openclipart-png`` installs them in the folder below; they are in the public domain. A class is a
folder inside a group (``animals/birds``), and the groups are the class hierarchy.
"""

from __future__ import annotations

from pathlib import Path

from harness.datasets import DATASETS, files
from harness.datasets.base import ImageSet
from harness.datasets.grouped import grouped, images_below
from methods.errors import UserError

#: Folder of Debian's package.
DEFAULT = "/usr/share/openclipart/png"
REMEDY = f"Install it with apt-get install openclipart-png, or give its folder: clipart:PATH (by default {DEFAULT})."
#: Groups without a common subject. Series of generated stars and three themes of icons would be half of all images.
WITHOUT_SUBJECT = frozenset(("buttons", "computer", "logos", "shapes", "signs_and_symbols", "special", "unsorted"))
#: Twelve drawings of the package have 20 to 620 million pixels and would take most of the time of reading.
MOST_PIXELS = 20_000_000


def load(identifier: str = "") -> ImageSet:
    """Load the drawings in the folder ``identifier``. Only file names and sizes are read.

    Links are left out: the package links a drawing with two subjects into a second folder. So are drawings that lie
    directly in a group, without a class, and those of more than :data:`MOST_PIXELS`.

    Raises:
        UserError: if the folder is missing, or has too few groups of classes.
    """
    root = Path(identifier or DEFAULT).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {str(root)!r} with the drawings of clipart. {REMEDY}")
    images = list(images_below(root, lambda parts: parts[0] in WITHOUT_SUBJECT))
    usable = [image for image in images if _n_pixels(image.path) <= MOST_PIXELS]
    notes = [f"Left out: the groups {', '.join(sorted(WITHOUT_SUBJECT))}, and drawings without a class."]
    if n_large := len(images) - len(usable):
        notes.append(f"Left out: drawings of more than {MOST_PIXELS / 1e6:g} million pixels ({n_large}).")
    return grouped("clipart", usable, notes=tuple(notes))


def _n_pixels(path: Path) -> int:
    """Return the number of pixels in the header of a PNG image, 0 if it cannot be read: it is then a broken image."""
    try:
        with files.open_regular(path) as file:
            header = file.read(24)
    except OSError:
        return 0
    width, height = (int.from_bytes(header[start : start + 4], "big") for start in (16, 20))
    return width * height if header.startswith(b"\x89PNG") else 0


DATASETS.add("clipart", load, description="drawings of Debian's package openclipart-png in groups; clipart:PATH")
