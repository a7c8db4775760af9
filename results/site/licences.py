"""Images that a site may show, and under which licence: the shipped photographs, and a folder whose owner says so.

A store names its images, and may name any file. Of the shipped photographs only those of the list of attributions are
shown; of a folder, only files inside of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from results.pictures.credits import Credit, credits_of
from results.pictures.image_files import PHOTOS, find, folders, is_photos


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
        self._credits = credits_of(self._photos) if self._photos is not None else {}

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
