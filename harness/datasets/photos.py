"""The 249 photographs that ship with the harness, or ``photos:N`` of them.

Their authors are listed in ``photos/README.md`` and ``photos/attribution.csv``.
"""

from __future__ import annotations

from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageSet
from harness.datasets.numbered import numbered
from methods.errors import UserError

FOLDER = Path(__file__).with_name("photos")


def load(identifier: str = "") -> ImageSet:
    """Load the shipped photographs. Their class is the part of the file name before the double underscore.

    ``identifier`` is the number of photographs; each class is in proportion, and the same ones are always chosen. An
    empty identifier gives all.

    Raises:
        UserError: if the identifier is not a positive number, there are fewer photographs, or the files are missing
            from the installation.
    """
    files = sorted(FOLDER.glob("*__*.jpg"), key=lambda file: file.name)
    if not files:
        raise UserError("The shipped photographs are missing from this installation. Install the package again.")
    photos = ImageSet.labelled("photos", [(file.name, file, file.name.split("__")[0]) for file in files])
    return numbered(photos, identifier)


DATASETS.add("photos", load, description="249 shipped photographs in 7 classes; photos:N takes N of them")
