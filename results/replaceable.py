"""Check of the path of a file that a command writes for its user: nothing that cannot be made again is replaced."""

from __future__ import annotations

import os
from pathlib import Path

from results.errors import StoreError

#: Bytes 8 to 12 of a DuckDB file.
_DUCKDB = b"DUCK"


def require_replaceable(path: str | os.PathLike[str]) -> Path:
    """Return the path with the home folder in it, if a file may be written there.

    Raises:
        StoreError: it is a folder, a device, a pipe or a results store.
    """
    target = Path(path).expanduser()
    if target.is_dir():
        raise StoreError(f"{str(path)!r} is a folder; give the path of a file.")
    if target.exists() and not target.is_file():
        # Renaming a file to it would replace a device or a pipe, for all programs of the machine.
        raise StoreError(f"{str(path)!r} is a device or a pipe, not a file; give the path of a file.")
    if _is_database(target):
        raise StoreError(f"{target} is a results store, which would be overwritten; choose another file.")
    return target


def _is_database(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(12)[8:] == _DUCKDB
    except OSError:
        return False  # not there, or no file: writing says what is wrong
