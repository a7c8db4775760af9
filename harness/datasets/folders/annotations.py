"""Labels in a text file, one line per image: the validation split of Tiny-ImageNet (``val_annotations.txt``)."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from harness.datasets import files
from methods.errors import UserError

#: Bytes of the largest file of annotations, a hundred times those of ImageNet.
LARGEST = 1 << 28


def read_annotations(file: Path) -> dict[str, str]:
    """Return the class of each image file name, both in the Unicode form NFC.

    A line is ``FILE<TAB>CLASS``; further columns (boxes) are ignored.

    Raises:
        UserError: if the file cannot be read, a line has no two columns, or one image has two classes.
    """
    try:
        text = files.read(file, LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"The annotations {file.name!r} cannot be read: {reason}. They must be UTF-8 text.") from error
    lines = unicodedata.normalize("NFC", text).splitlines()
    labels: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image, label = [field.strip() for field in [*line.split("\t"), ""][:2]]
        if not image or not label:
            raise UserError(
                f"Line {number} of {file.name!r} is {line[:80]!r}: it must be FILE, a tab, and CLASS, optionally with "
                "further columns."
            )
        if labels.setdefault(image, label) != label:
            raise UserError(
                f"Line {number} of {file.name!r} gives {image!r} the class {label!r}, and an earlier line "
                f"{labels[image]!r}: keep one of them."
            )
    return labels
