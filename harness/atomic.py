"""Giving finished files their name: whole or absent, durable, and safe where two processes make the same thing.

What is being made lies under ``.partial-<host>-<process>-...`` beside its place. A process that is killed leaves that
behind; :func:`sweep` removes it when the cache is opened next on the same host.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
from pathlib import Path

from harness.errors import UserError

_PREFIX = ".partial-"


def workplace(target: Path, *, folder: bool) -> Path:
    """An empty file or folder beside ``target`` in which to make it.

    Raises:
        UserError: if the place cannot be written.
    """
    prefix = f"{_PREFIX}{_host()}-{os.getpid()}-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        handle, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
        os.close(handle)
        return Path(name)
    except OSError as error:
        raise UserError(
            f"Nothing can be written to {str(target.parent)!r} ({error.strerror}): give another place with --cache."
        ) from error


def publish(made: Path, target: Path) -> None:
    """Make ``made`` (a file, or a folder with all in it) durable and give it the name ``target``.

    A folder of that name that is there already was made by another process from the same inputs: it stays, and ours is
    removed. A file is replaced.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in [made, *made.rglob("*")] if made.is_dir() else [made]:
        # The temporary names are private to us; what is published is as readable as anything the user writes.
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        if path.is_file():
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())
    try:
        made.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove(made)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there. It is renamed first, so that no reader sees half of it."""
    if not path.exists():
        return
    if path.is_dir():
        doomed = path.parent / f"{_PREFIX}{_host()}-{os.getpid()}-{path.name}-doomed"
        try:
            path.replace(doomed)
        except OSError:
            doomed = path
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(cache: Path) -> None:
    """Remove what killed processes of this host left half made in ``cache`` and its folders."""
    begun = f"{_PREFIX}{_host()}-*"
    for path in (*cache.glob(begun), *cache.glob(f"*/{begun}")):
        process = path.name.removeprefix(f"{_PREFIX}{_host()}-").partition("-")[0]
        if process.isdigit() and not _alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _host() -> str:
    return "".join(letter for letter in platform.node() if letter.isalnum()) or "host"
