"""Files of the cache: read if they are valid and made of all images that can be read now, and written atomically."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from harness.atomic import create_partial, remove, replace_atomically
from harness.datasets.base import BrokenImageError, ImageSet
from harness.datasets.loading import BrokenReport

T = TypeVar("T")

#: Exceptions raised when a damaged or half-written file of this project is read. JSON of another structure has no such
#: keys or attributes, or is nested without end; the header of an array may declare any size.
DAMAGE = (
    OSError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, EOFError, MemoryError, RecursionError,
    zipfile.BadZipFile, SafetensorError,
)  # fmt: skip


def read_cached(
    path: Path, read: Callable[[Path], tuple[T, Mapping[str, str]]], images: ImageSet, report: BrokenReport
) -> T | None:
    """Return the result stored at ``path``, or None if it is missing.

    A damaged result is removed. So is a result computed without an image that can be read now: an image may have been
    unreadable only temporarily.

    Args:
        path: file or folder.
        read: function that returns the result and the images that it lacks (name to reason), or raises one of
            :data:`DAMAGE`.
        images: images of the result.
        report: receives the images that still cannot be read.
    """
    if not path.exists():
        return None
    try:
        require_regular_files(path)
        result, skipped = read(path)
    except PermissionError:
        raise
    except DAMAGE:
        remove(path)
        return None
    if not _still_unreadable(images, skipped, report):
        remove(path)
        return None
    return result


def require_regular_files(path: Path) -> None:
    """Raise ValueError if a file, or a file in a folder, is a named pipe or a device, whose reading may never end."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if not (file.is_file() or file.is_dir()):
            raise ValueError(f"{file.name} is not a regular file")


def _still_unreadable(images: ImageSet, skipped: Mapping[str, str], report: BrokenReport) -> bool:
    """Return True if none of the formerly ``skipped`` images can be read now, and add them to ``report``."""
    if not skipped:
        return True
    position = {record.name: index for index, record in enumerate(images.records)}
    for name, reason in skipped.items():
        if name not in position:
            return False
        try:
            images.open(position[name])
        except BrokenImageError:
            report.setdefault(name, reason)
        else:
            return False
    return True


def save_cached(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, which appears under its name when it is complete."""
    partial = create_partial(file, folder=False)
    try:
        save_file(tensors, partial, metadata)
        replace_atomically(partial, file)
    finally:
        remove(partial)
