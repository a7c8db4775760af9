"""State of a store file, by which one notices that it was written or replaced."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Identity of a file and of its log, which changes with every write."""

    file: tuple[int, ...] | None
    log: tuple[int, ...] | None

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Return the state of the store at `path`."""
        return cls(*(_stat(file) for file in (path, path.with_name(path.name + ".wal"))))

    def is_same_file(self, other: FileState) -> bool:
        """Return whether both are states of one file, which may have been written in between."""
        return self.file is not None and other.file is not None and self.file[:2] == other.file[:2]


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
