"""Files of the images that a store names: looked up in folders, never outside of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

PHOTOS = "photos"


def is_photos(dataset: str | None) -> bool:
    """Return whether a data set is that of the shipped photographs, or some of them (photos:80)."""
    return (dataset or "").partition(":")[0] == PHOTOS


def folders(dataset: str | None, user_folder: Path | None) -> list[Path]:
    """Return the folders that may hold the images of a set: the folder the user gave, then the shipped photographs."""
    paths = [user_folder] if user_folder is not None else []
    if is_photos(dataset):
        # The package is looked up, not imported: its photographs are files.
        package = importlib.util.find_spec("harness")
        for location in (package.submodule_search_locations if package else None) or ():
            paths.append(Path(location) / "datasets" / "photos")
    return paths


def find(name: str | None, image_folders: Sequence[Path]) -> Path | None:
    """Return the file of an image, None if there is none; a name that leads out of a folder finds nothing."""
    if not name:
        return None
    for folder in image_folders:
        try:
            inside = not Path(name).is_absolute() and ".." not in Path(name).parts
            if inside and (path := folder / name).is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None
