"""Turnstile lock beside the store, which keeps a stream of readers from blocking a writer.

DuckDB's own file lock has no queue: with readers coming and going, some reader nearly always holds the file, and a
retrying writer may wait forever. So a writer first closes the turnstile (an exclusive `flock` on `<store>.lock`);
readers pass through it before they open the store, those already inside drain, and the writer gets in. Two writers
queue at it as well. The kernel drops the lock with its holder, so a killed writer leaves nothing to clean up.

If it is not available (no `fcntl`, a read-only folder, a file system without `flock`), both sides continue without it
and rely on retries alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_path(store: Path) -> Path:
    """Return the turnstile's file of a store."""
    return store.with_name(store.name + ".lock")


@contextlib.contextmanager
def closed(store: Path, deadline: float) -> Iterator[None]:
    """Hold the turnstile closed for readers and other writers; after `deadline` (monotonic) continue without it."""
    opened = _open(store, create=True)
    try:
        if opened is not None:
            _acquire(opened.fileno(), exclusive=True, deadline=deadline)
        yield
    finally:
        if opened is not None:
            _release(opened)


def pass_through(store: Path, deadline: float) -> None:
    """Wait until no writer holds the turnstile, or until `deadline` (monotonic), without holding it."""
    opened = _open(store, create=False)
    if opened is None:
        return
    try:
        _acquire(opened.fileno(), exclusive=False, deadline=deadline)
    finally:
        _release(opened)


def _open(store: Path, *, create: bool) -> io.FileIO | None:
    if fcntl is None:
        return None
    # A pipe or a link of that name, which may come with a store, is neither waited for nor followed.
    flags = (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY) | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        # A file object: if an interrupt prevents its release, it is closed when it is deleted.
        return io.FileIO(lock_path(store), "rb", opener=lambda name, _: os.open(name, flags, 0o666))
    except OSError:
        return None


def try_lock(handle: int, *, exclusive: bool) -> bool:
    """Lock an open file without waiting; return false if another process holds a lock that excludes it.

    Raises:
        OSError: there are no locks on this system or file system.
    """
    if fcntl is None:
        raise OSError("this system has no flock")
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(handle: int, *, exclusive: bool, deadline: float) -> None:
    with contextlib.suppress(OSError):
        while not try_lock(handle, exclusive=exclusive) and time.monotonic() < deadline:
            time.sleep(random.uniform(0.001, 0.006))


def _release(opened: io.FileIO) -> None:
    # Closing alone is not enough: a process forked meanwhile (a data loader's worker) shares the lock and keeps it.
    with contextlib.suppress(OSError):
        fcntl.flock(opened.fileno(), fcntl.LOCK_UN)
    opened.close()
