"""Images that a site may show, and under which licence: the shipped photographs, and a folder whose owner says so.

A store names its images, and may name any file. Of the shipped photographs only those of the list of attributions are
shown; of a folder, only files inside of it.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from results.app.pictures import find, folders

#: File of `attribution.csv`'s folder with the text of a licence, by the start of the licence's name; others are named
#: by the address of their text.
_TEXTS = {"GPL-3": "GPL-3.txt", "GPL-2": "GPL-2.txt", "GFDL-NIV-1.2": "GFDL-1.2.txt"}
PHOTOS = "photos"


class Credit(NamedTuple):
    """Attribution of one image."""

    file: str
    holder: str
    licence: str
    text: str
    """file of the licence's text in the site's folder `licences`; empty if there is none"""
    address: str
    """address of the licence's text; empty if there is none"""
    origin: str


@dataclasses.dataclass
class Images:
    """Images of all data sets of a site.

    Attributes:
        folder: of the images of other data sets than the shipped photographs; None: they are not shown.
        licence: of the images in `folder`, in the words of who publishes the site.
        used: shipped photographs that are on a page, with their attribution.
        folder_used: names of files of `folder` that are on a page.
    """

    folder: Path | None = None
    licence: str = ""
    used: dict[str, Credit] = dataclasses.field(default_factory=dict)
    folder_used: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        self._photos = next(iter(folders(PHOTOS, None)), None)
        self._credits = _credits(self._photos) if self._photos is not None else {}

    def may_show(self, dataset: str | None) -> bool:
        """Return whether images of a data set may be on a page."""
        return bool(self._credits) if is_photos(dataset) else self.folder is not None

    def file(self, dataset: str | None, image: str | None) -> Path | None:
        """Return the file of an image, and note that it is used; None if it is missing or may not be shown."""
        if not image:
            return None
        if is_photos(dataset):
            if self._photos is None or image not in self._credits:
                return None
            path = find(image, [self._photos])
            if path is not None:
                self.used[image] = self._credits[image]
            return path
        if self.folder is None:
            return None
        path = find(image, [self.folder])
        if path is None or not path.resolve().is_relative_to(self.folder.resolve()):
            return None
        self.folder_used.add(image)
        return path

    def licence_texts(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the licences' texts that the used photographs need."""
        for text in sorted({credit.text for credit in self.used.values() if credit.text}):
            if self._photos is not None:
                yield text, (self._photos / "licences" / text).read_bytes()


def is_photos(dataset: str | None) -> bool:
    """Return whether a data set is that of the shipped photographs, or some of them (photos:80)."""
    return (dataset or "").partition(":")[0] == PHOTOS


def _credits(photos: Path) -> Mapping[str, Credit]:
    try:
        with open(photos / "attribution.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return {row["file"]: _credit(row) for row in rows}


def _credit(row: Mapping[str, str]) -> Credit:
    licence = row["license"]
    text = next((file for start, file in _TEXTS.items() if licence.startswith(start)), "")
    address = "" if text or licence == "public-domain" else _address(licence)
    origin = row["origin"] or f"{row['source_package']}, {row['source_path']}"
    return Credit(row["file"], row["copyright"], licence, text, address, origin)


def _address(licence: str) -> str:
    kind, _, version = licence.lower().rpartition("-")
    if kind == "cc0":
        return f"creativecommons.org/publicdomain/zero/{version}/legalcode"
    return f"creativecommons.org/licenses/{kind.removeprefix('cc-')}/{version}/legalcode"
