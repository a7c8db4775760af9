"""Photographs of single things without a background, in groups of classes: ``stamps``, or ``stamps:PATH``.

They are the stamps of the drawing program Tux Paint (version 2022.06.04), which Debian's package
``tuxpaint-stamps-default`` installs in the folder below. By Bill Kendrick and others; licence: GPL 2. A class is a
folder inside a group (``animals/birds``), and the groups are the class hierarchy.
"""

from __future__ import annotations

from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageSet
from harness.datasets.grouped import grouped, images_below
from methods.errors import UserError

#: Folder of Debian's package.
DEFAULT = "/usr/share/tuxpaint/stamps"
REMEDY = (
    f"Install it with apt-get install tuxpaint-stamps-default, or give its folder: stamps:PATH (default {DEFAULT})."
)
#: Folders of drawings and of toys, at any depth.
DRAWN = frozenset(("cartoon", "flags", "plastic", "seasonal", "symbols", "toys"))


def load(identifier: str = "") -> ImageSet:
    """Load the photographs in the folder ``identifier``. Only file names are read.

    Stamps that show another one in a mirror are left out, and so are those that lie directly in a group.

    Raises:
        UserError: if the folder is missing, or has too few groups of classes.
    """
    root = Path(identifier or DEFAULT).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {str(root)!r} with the photographs of stamps. {REMEDY}")
    images = [
        image
        for image in images_below(root, lambda parts: parts[-1] in DRAWN)
        if not image.path.stem.endswith(("_mirror", "_flip"))
    ]
    notes = (f"Left out: folders of drawings ({', '.join(sorted(DRAWN))}), and stamps without a class.",)
    return grouped("stamps", images, notes=notes)


DATASETS.add(
    "stamps", load, description="photographs of Debian's package tuxpaint-stamps-default in groups; stamps:PATH"
)
