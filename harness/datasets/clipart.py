"""Drawings of the Open Clip Art Library 0.18, in groups of classes: ``clipart``, or ``clipart:PATH``.

Debian's package ``openclipart-png`` installs them in the folder below; they are in the public domain. A class is a
folder inside a group (``animals/birds``), and the groups are the class hierarchy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageSet
from harness.datasets.grouped import GroupedImage, grouped
from methods.errors import UserError

#: Folder of Debian's package.
DEFAULT = "/usr/share/openclipart/png"
REMEDY = f"Install it with apt-get install openclipart-png, or give its folder: clipart:PATH (by default {DEFAULT})."
#: Groups without a common subject. Series of generated stars and three themes of icons would be half of all images.
WITHOUT_SUBJECT = frozenset(("buttons", "computer", "logos", "shapes", "signs_and_symbols", "special", "unsorted"))


def load(identifier: str = "") -> ImageSet:
    """Load the drawings in the folder ``identifier``. Only file names are read.

    Links are left out: the package links a drawing with two subjects into a second folder. So are drawings that lie
    directly in a group, without a class.

    Raises:
        UserError: if the folder is missing, or has too few groups of classes.
    """
    root = Path(identifier or DEFAULT).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {str(root)!r} with the drawings of clipart. {REMEDY}")
    images = list(_images(root))
    notes = (f"Left out: the groups {', '.join(sorted(WITHOUT_SUBJECT))}, and drawings without a class.",)
    return grouped("clipart", images, notes=notes)


def _images(root: Path) -> Iterator[GroupedImage]:
    """Yield the images of the classes, at any depth below them."""
    for folder, inner, names in os.walk(root):
        parts = Path(folder).relative_to(root).parts
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if parts and parts[0] in WITHOUT_SUBJECT:
            inner.clear()
            continue
        for name in names if len(parts) >= 2 else ():
            path = Path(folder, name)
            if name.endswith(".png") and not name.startswith(".") and not path.is_symlink():
                # Bytes that are no UTF-8 are escaped, so that the name can be hashed and stored.
                text = "/".join((*parts, name)).encode("utf-8", "backslashreplace").decode()
                group, kind = text.split("/")[:2]
                yield GroupedImage(text, path, group, kind)


DATASETS.add("clipart", load, description="drawings of Debian's package openclipart-png in groups; clipart:PATH")
