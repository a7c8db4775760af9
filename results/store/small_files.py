"""Small files beside a store: marks of runs, claims, ends of runs. They may come with a store, from anyone.

A link among them could lead to any file of the reader, so links are never followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: Most bytes that are read; none of these files has more than some hundred.
MOST_BYTES = 4096

#: Neither wait for a pipe nor follow a link; both flags are missing on Windows.
PLAIN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def is_plain_folder(path: Path) -> bool:
    """Return whether a path is a folder, and not a link to one: files of a linked folder belong to somebody else."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a regular file, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def read_small(file: Path) -> str:
    """Return the text of a small regular file, of a larger one its beginning.

    Raises:
        OSError: there is no such file, or it is a link, a pipe or a folder.
    """
    handle = os.open(file, os.O_RDONLY | PLAIN)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{file} is not a regular file")
        return os.read(handle, MOST_BYTES).decode(errors="replace")
    finally:
        os.close(handle)
