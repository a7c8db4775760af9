"""Image set of two levels of classes: groups such as ``animals`` above classes such as ``animals/birds``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.datasets.base import FileReader, ImageRecord, ImageSet, Reader
from harness.datasets.hierarchy import ClassHierarchy
from methods.errors import UserError

#: Fewest images of a class: any split in proportion then leaves images on both sides.
FEWEST_IMAGES = 10


class GroupedImage(NamedTuple):
    """Image of a class ``kind`` within a ``group``."""

    name: str
    path: Path
    group: str
    kind: str


def images_below(root: Path, is_left_out: Callable[[tuple[str, ...]], bool]) -> Iterator[GroupedImage]:
    """Yield the PNG images in ``root/GROUP/KIND`` and in the folders below. Only file names are read.

    Hidden files are left out, and so are links: an image with a link in another folder has one class.

    Args:
        is_left_out: called with the parts of the path of a folder below ``root``; True leaves it out with all in it.
    """
    for folder, inner, names in os.walk(root):
        parts = Path(folder).relative_to(root).parts
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not is_left_out((*parts, name)))
        for name in names if len(parts) >= 2 else ():
            path = Path(folder, name)
            if name.endswith(".png") and not name.startswith(".") and not path.is_symlink():
                # Bytes that are no UTF-8 are escaped, so that the name can be hashed and stored.
                text = "/".join((*parts, name)).encode("utf-8", "backslashreplace").decode()
                group, kind = text.split("/")[:2]
                yield GroupedImage(text, path, group, kind)


def grouped(
    name: str, images: Sequence[GroupedImage], *, reader: Reader | None = None, notes: tuple[str, ...] = ()
) -> ImageSet:
    """Return the set of the images, with the classes ``GROUP/KIND`` and their groups as the class hierarchy.

    Classes of fewer than :data:`FEWEST_IMAGES` images are left out, with a note.

    Raises:
        UserError: if too few classes remain for a hierarchy.
    """
    counts = Counter((image.group, image.kind) for image in images)
    kept = sorted(key for key, count in counts.items() if count >= FEWEST_IMAGES)
    if small := len(counts) - len(kept):
        n_images = sum(counts.values()) - sum(counts[key] for key in kept)
        notes = (*notes, f"Left out: {small} classes of fewer than {FEWEST_IMAGES} images ({n_images} in all).")
    classes = tuple(f"{group}/{kind}" for group, kind in kept)
    try:
        hierarchy = ClassHierarchy.from_pairs(classes, {f"{group}/{kind}": group for group, kind in kept})
    except UserError as error:
        raise UserError(f"{name} has too few images in groups of classes: {error}") from error
    number = {key: index for index, key in enumerate(kept)}
    records = tuple(
        sorted(
            ImageRecord(image.name, image.path, number[image.group, image.kind])
            for image in images
            if (image.group, image.kind) in number
        )
    )
    return ImageSet(name, records, classes, reader or FileReader(), notes=notes, class_hierarchy=hierarchy)
