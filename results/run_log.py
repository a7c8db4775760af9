"""Log files of runs: ``logs/<run id>.log`` beside the store, one line per message and per cell."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
#: Bytes at the end of a file that are read.
_TAIL_BYTES = 64 << 10


def log_file(store: Path, run_id: str) -> Path | None:
    """Return the log file of a run; None if no file can belong to a run of this id."""
    return store.parent / "logs" / f"{run_id}.log" if _RUN_ID.fullmatch(run_id) else None


def tail(file: Path, lines: int) -> list[str]:
    """Return the last lines of a log file, without their line ends; empty if there is no such regular file."""
    try:
        if file.parent.is_symlink():
            return []
        # A named pipe would block the reader, and a link could lead to any file of the reader.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, ValueError):
        return []
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return []
        size = status.st_size
        text = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace").splitlines()
    finally:
        os.close(descriptor)
    return text[1:][-lines:] if size > _TAIL_BYTES else text[-lines:]
