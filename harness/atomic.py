"""Atomic creation of files and folders, safe when two processes create the same one.

A file or folder is written under the name ``.partial-<host>-<process>-...`` beside its target and renamed when it is
complete. A killed process leaves the partial file behind; :func:`remove_leftovers` deletes it when the cache is opened
next on the same host.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from harness.errors import UserError
from results.processes import host, is_alive


def create_partial(target: Path, *, folder: bool) -> Path:
    """Create an empty file or folder beside ``target``, to be filled and passed to :func:`replace_atomically`.

    Raises:
        UserError: if the folder of ``target`` cannot be written.
    """
    prefix = f"{_prefix()}{os.getpid()}-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        handle, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
        os.close(handle)
        return Path(name)
    except OSError as error:
        raise UserError(
            f"The folder {str(target.parent)!r} cannot be written ({error.strerror}): give another one with --cache."
        ) from error


def replace_atomically(partial: Path, target: Path) -> None:
    """Write ``partial`` (a file, or a folder with its content) to disk and rename it to ``target``.

    An existing file is replaced. An existing folder was created by another process from the same inputs, so it stays
    and ``partial`` is removed.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in [partial, *partial.rglob("*")] if partial.is_dir() else [partial]:
        # Temporary files are created with private permissions; the result gets those that the umask allows.
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        if path.is_file():
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())
    try:
        partial.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists. A folder is renamed first, so that no reader sees half of it."""
    if not path.exists():
        return
    if path.is_dir():
        doomed = path.parent / f"{_prefix()}{os.getpid()}-{path.name}-doomed"
        try:
            path.replace(doomed)
        except OSError:
            doomed = path
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(cache: Path) -> None:
    """Remove the partial files and folders that killed processes of this host left in ``cache`` and its subfolders."""
    for path in (*cache.glob(f"{_prefix()}*"), *cache.glob(f"*/{_prefix()}*")):
        process = path.name.removeprefix(_prefix()).partition("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _prefix() -> str:
    """Return the start of the names of this host's partial files; the id of the process follows."""
    return f".partial-{host()}-"
