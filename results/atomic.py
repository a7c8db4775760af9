"""Atomic writes: a file is complete under its name, or it is not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def partial_file(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`; the file written there gets the name `target` at the end of the block.

    If the block raises, `target` stays as it was. The temporary file and its DuckDB log are removed in any case.

    Args:
        target: a path in an existing folder.
        overwrite: replace an existing `target`; if false, one that another process created meanwhile is kept.

    Raises:
        OSError: the file cannot be synced, renamed or linked.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            partial.replace(target)
            return
        try:
            # Linking is atomic, and fails if the path exists.
            os.link(partial, target)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not target.exists():
                partial.replace(target)
    finally:
        for leftover in (partial, partial.with_name(partial.name + ".wal")):
            leftover.unlink(missing_ok=True)
