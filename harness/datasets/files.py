"""Reading of files that others made: regular files only, since a named pipe or a device may never end, up to a size."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

#: Largest encoded image in bytes. Pillow decodes at most 179 million pixels, which are 0.5 GiB as RGB.
LARGEST = 1 << 30


def regular_size(path: Path) -> int:
    """Return the size of a regular file in bytes.

    Raises:
        OSError: if there is no such file, or it is a named pipe, a device, a socket or a folder.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return status.st_size


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes; raises as :func:`regular_size`."""
    regular_size(path)
    return path.open("rb")


def read(path: Path, largest: int = LARGEST) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: as :func:`regular_size`, or if the file has more than ``largest`` bytes.
    """
    size = regular_size(path)
    if size > largest:
        raise OSError(errno.EFBIG, f"{size / 2**30:.1f} GiB, and at most {largest / 2**30:g} GiB are read", str(path))
    return path.read_bytes()
