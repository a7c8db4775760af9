"""The 249 photographs that ship with the harness, or ``photos:N`` of them.

Their authors are listed in ``photos/README.md`` and ``photos/attribution.csv``.
"""

from __future__ import annotations

from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageRecord, ImageSet
from methods.errors import UserError

TITLE = "249 shipped photographs in 7 classes"
SOURCE = "package gcompris-qt-data 3.1-2 (Debian)"
LICENSE = "free, per file: photos/attribution.csv"
FOLDER = Path(__file__).with_name("photos")


def load(identifier: str = "") -> ImageSet:
    """Load the shipped photographs. Their class is the part of the file name before the double underscore.

    ``identifier`` is the number of photographs; each class is in proportion, and the same ones are always chosen. An
    empty identifier gives all.

    Raises:
        UserError: if the identifier is not a positive number, there are fewer photographs, or the files are missing
            from the installation.
    """
    if identifier and not (identifier.isdecimal() and int(identifier) > 0):
        raise UserError(f"photos:{identifier}: after the colon stands how many of the photographs, as in photos:80.")
    files = sorted(FOLDER.glob("*__*.jpg"), key=lambda file: file.name)
    if not files:
        raise UserError("The shipped photographs are missing from this installation. Install the package again.")
    classes = tuple(sorted({file.name.split("__")[0] for file in files}))
    number = {name: index for index, name in enumerate(classes)}
    records = tuple(ImageRecord(file.name, file, number[file.name.split("__")[0]]) for file in files)
    everything = ImageSet("photos", records, classes)
    if not identifier or int(identifier) == len(records):
        return everything
    some = everything.split(evaluation=int(identifier)).evaluation
    return ImageSet(f"photos:{identifier}", some.records, classes)


DATASETS.add("photos", load, description="249 shipped photographs in 7 classes; photos:N takes N of them")
