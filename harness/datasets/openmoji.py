"""Drawings of OpenMoji, in groups of classes: ``openmoji:PATH`` with the folder of the npm package ``openmoji``.

The classes are the subgroups of ``data/openmoji.json`` and their groups are the class hierarchy. Variants of a drawing
with another skin tone are left out: they are copies but for a colour. The package holds SVG files, which resvg draws on
white. Drawings by OpenMoji, the open-source emoji and icon project; licence: CC BY-SA 4.0.
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

from harness.datasets import DATASETS, files
from harness.datasets.base import ImageRecord, ImageSet, Reader
from harness.datasets.grouped import GroupedImage, grouped
from methods.errors import UserError

MODULE, PACKAGE = "resvg_py", "resvg-py"
LIST, FOLDER = "data/openmoji.json", "color/svg"
REMEDY = "Give the folder of the npm package: npm install openmoji, then openmoji:node_modules/openmoji."
#: Width and height in pixels of a drawing.
SIDE = 256
#: Bytes of the largest list and drawing; those of version 17 have 2 MB and 60 kB.
LARGEST_LIST, LARGEST_DRAWING = 64 << 20, 4 << 20
#: Drawings that a reader keeps: a start reads each several times, and 4500 take 35 MB.
_MOST_KEPT = 8192
#: Elements of SVG that would include other files.
_INCLUDING = re.compile(rb"<\s*(\w+:)?(image|use\s[^>]*href\s*=\s*[\"'](?!#)|!ENTITY)", re.IGNORECASE)
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9-]{0,199}")


class DrawingReader(Reader):
    """Reader of SVG files as PNG images of :data:`SIDE` pixels on white."""

    def __init__(self) -> None:
        self._drawn: dict[Path, bytes] = {}

    def read(self, record: ImageRecord) -> bytes:
        if record.path not in self._drawn:
            drawing = draw(files.read(record.path, LARGEST_DRAWING))
            if len(self._drawn) >= _MOST_KEPT:
                return drawing
            self._drawn[record.path] = drawing
        return self._drawn[record.path]


def draw(svg: bytes) -> bytes:
    """Return an SVG drawing as PNG. No font of this machine and no other file is read.

    Raises:
        OSError: if it cannot be drawn, or includes other files.
    """
    import resvg_py

    if _INCLUDING.search(svg):
        raise OSError(errno.EINVAL, "the drawing includes other files")
    try:
        text = svg.decode("utf-8-sig")
        # The background is part of the drawing: an identity that depends on what is white elsewhere would not hold.
        drawn = resvg_py.svg_to_bytes(
            svg_string=text, width=SIDE, height=SIDE, background="white", skip_system_fonts=True
        )
    except ValueError as error:  # resvg's errors, and UnicodeDecodeError
        raise OSError(errno.EINVAL, f"the drawing is no SVG: {str(error)[:200]}") from error
    return bytes(drawn)


def load(identifier: str) -> ImageSet:
    """Load the drawings in the folder ``identifier``.

    Raises:
        UserError: if resvg-py, the folder or its list is missing, or the list is damaged.
    """
    # Imports no torch.
    from harness.backbones.sources.base import require

    require(MODULE, PACKAGE, "openmoji")
    root = Path(identifier).expanduser()
    if not identifier or not (root / LIST).is_file():
        raise UserError(f"openmoji:{identifier}: there is no {LIST} in this folder. {REMEDY}")
    rows = _rows(root)
    plain = [row for row in rows if not row.get("skintone")]
    images = [_image(row, root) for row in plain]
    notes = (f"Left out: {len(rows) - len(plain)} variants of drawings with another skin tone.",)
    return grouped("openmoji", images, reader=DrawingReader(), notes=notes)


def _rows(root: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(files.read(root / LIST, LARGEST_LIST))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{LIST} of OpenMoji cannot be read: {str(error)[:200]}. {REMEDY}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{LIST} of OpenMoji must be a list of objects, one per drawing. {REMEDY}")
    return rows


def _image(row: dict[str, Any], root: Path) -> GroupedImage:
    """Return the drawing of a row, with the texts that make a path or a class checked."""
    code, group, kind = (row.get(key) for key in ("hexcode", "group", "subgroups"))
    for text in (code, group, kind):
        if not isinstance(text, str) or not _NAME.fullmatch(text):
            raise UserError(
                f"A row of {LIST} has the hexcode, group and subgroups {str((code, group, kind))[:120]}: each must be "
                "a text of letters, digits and hyphens."
            )
    return GroupedImage(f"{code}.svg", root / FOLDER / f"{code}.svg", str(group), str(kind))


DATASETS.add(
    "openmoji",
    load,
    description="openmoji:PATH, drawings of the npm package openmoji in groups of classes; needs the extra drawings",
    requires=(MODULE,),
)
