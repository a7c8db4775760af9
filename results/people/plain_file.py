"""Reading of files beside a store that may come from somebody else: no links, no pipes, and not more than a bound."""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: Absent on Windows, which has neither such links nor such pipes in a folder.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_plain(path: Path, flags: int) -> int:
    """Open a regular file and return its descriptor.

    Raises:
        ValueError: it is a link, a pipe, a device or a folder.
        OSError: it cannot be opened.
    """
    if path.is_symlink():
        raise ValueError("it is a link, which is not followed")
    handle = os.open(path, flags | _NO_LINK | getattr(os, "O_BINARY", 0), 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("it is no regular file")
    return handle


def read_bounded(path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        ValueError: it is larger than `most` bytes, no regular file, or cannot be read.
    """
    try:
        with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(content) > most:
        raise ValueError(f"it is larger than {most} bytes")
    return content
