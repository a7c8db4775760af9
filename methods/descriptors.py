"""File descriptors of the standard streams, put back after code of a plugin has closed or redirected them.

A closed descriptor is worse than lost output: the next file that is opened, such as the store, would get its number,
and what is printed would be written into that file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = {0: "standard input", 1: "standard output", 2: "standard error"}

#: (device, inode) of an open descriptor.
_File = tuple[int, int]


@contextmanager
def kept_descriptors(changes: list[str] | None = None) -> Iterator[None]:
    """Restore descriptors 0 to 2 at the end of the context; ``changes`` receives the names of those that changed."""
    copies: list[tuple[int, int, _File]] = []
    for number in _NAMES:
        with contextlib.suppress(OSError):
            copy = os.dup(number)
            file = _file_of(copy)
            assert file is not None
            copies.append((number, copy, file))
    try:
        yield
    finally:
        for number, copy, file in copies:
            # The copy may have been closed as well, and its number be that of another file now.
            usable = _file_of(copy) == file
            if _file_of(number) != file:
                if changes is not None:
                    changes.append(f"the file of {_NAMES[number]}")
                if usable:
                    os.dup2(copy, number)
            if usable:
                os.close(copy)


def _file_of(number: int) -> _File | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
