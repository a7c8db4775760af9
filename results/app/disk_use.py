"""Disk space of a store and of the folders that runs write beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Files counted per folder: a page must not wait for a folder of millions.
_MOST_FILES = 20_000
#: Folder beside the store -> what it holds.
_FOLDERS = {"artifacts": "fitted methods", "cache": "cached tokens and baselines", "grids": "grids for judges"}


class DiskUse(NamedTuple):
    """Space of one part."""

    what: str
    n_bytes: int
    is_complete: bool
    """false if there are more files than were counted"""


def disk_use(store: Path) -> list[DiskUse]:
    """Return the space of a store's file and of each folder beside it that runs write; links are not followed."""
    uses = [DiskUse("store", _size(store), True)]
    for name, what in _FOLDERS.items():
        folder = store.parent / name
        if folder.is_symlink() or not folder.is_dir():
            continue
        total = n_files = 0
        for file in _files(folder):
            n_files += 1
            if n_files > _MOST_FILES:
                break
            total += _size(file)
        uses.append(DiskUse(what, total, n_files <= _MOST_FILES))
    return uses


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield Path(root, name)


def _size(file: Path) -> int:
    try:
        status = file.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
