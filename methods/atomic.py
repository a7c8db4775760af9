"""Atomic writes: a file is complete under its name, or it is not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def partial_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; the file written there gets its name at the end of the block.

    The folder is created if it is missing. If the block raises, ``target`` stays as it was.

    Raises:
        FileNotFoundError: if another process removes the folder meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        # Some writers create private files (mode 0600); the result has the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
