"""Folder with one sub-folder per class, with or without ``train/`` and ``val/`` above them (ImageNet's layout)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageSet
from methods.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
LAYOUT = "PATH/CLASS/IMAGE.jpg, or PATH/train/CLASS/IMAGE.jpg with PATH/val/CLASS/IMAGE.jpg"


def load(identifier: str) -> ImageSet:
    """Load the images below the folder ``identifier``. Only file names are read.

    Classes are the names of the sub-folders that hold images, sorted; images may lie deeper inside them. If there are
    ``train/`` and ``val/`` (or ``validation/``), these are its predefined split, the classes lie one level deeper, and
    other folders (``test/``) are ignored. Hidden files and folders are ignored; links are followed.

    Raises:
        UserError: if the folder is missing, has no class sub-folders, or these hold no images.
    """
    if not identifier:
        raise UserError("folder: needs a path, as in folder:/data/imagenet.")
    root = Path(identifier).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {identifier!r}. Give the path of a folder laid out as {LAYOUT}.")
    top = _folders(root)
    validation = "val" if "val" in top else "validation"
    parts = ("train", validation) if "train" in top and validation in top else ("",)
    records: list[tuple[str, Path, str]] = []
    for part in parts:
        images = [(_as_text(name), path) for name, path in _images(root / part)]
        if not images and any(_folders(root / other) for other in parts):
            folder = f"{identifier!r}, {part}/" if part else repr(identifier)
            raise UserError(f"There are no images in the class sub-folders of {folder} ({', '.join(SUFFIXES)}).")
        records += [(f"{part}/{name}" if part else name, path, name.split("/", 1)[0]) for name, path in images]
    if not records:
        raise UserError(f"{identifier!r} has no class sub-folders. Lay it out as {LAYOUT}.")
    split = "train" if len(parts) == 2 else None
    return ImageSet.labelled(f"folder:{_as_text(root.resolve().name)}", sorted(records), probing_folder=split)


def _as_text(name: str) -> str:
    r"""Escape bytes of a file name that are invalid UTF-8 (as ``\udcff``), so it can be hashed, printed and stored."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (path relative to ``root`` with forward slashes, path) of the images below its sub-folders."""
    for label in _folders(root):
        visited: set[str] = set()
        for folder, inner, files in os.walk(root / label, followlinks=True):
            # A link to a parent folder would otherwise be followed forever.
            real = os.path.realpath(folder)
            if real in visited:
                inner.clear()
                continue
            visited.add(real)
            inner[:] = [name for name in inner if not name.startswith(".")]
            for file in files:
                if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                    path = Path(folder, file)
                    yield path.relative_to(root).as_posix(), path


DATASETS.add("folder", load, description="folder:PATH, one sub-folder per class; train/ and val/ are the split")
