"""Folder of a site: written complete beside its place, and then moved, so that no reader sees half a page.

A marker lists the files that this program wrote. Other files of the folder, such as the `README.md` of a repository,
stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from results.errors import StoreError
from results.processes import host, is_alive

MARKER = ".harness-site.json"
#: Tells a host of GitHub's kind to serve the files as they are.
PLAIN_FILES = ".nojekyll"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")
#: Process and random part of the name of a folder in which a site is written.
_STAGE = re.compile(r"(\d{1,10})-[0-9a-f]{8}\.new")
_SUFFIXES = (".html", ".css", ".js", ".svg", ".webp", ".csv", ".json", ".txt")
_MOST_MARKER = 10_000_000


def require_folder(out: Path, *, force: bool) -> None:
    """Check before anything is computed that a site can be written to `out`.

    Raises:
        StoreError: it is a file, or a folder with content that is not a site of this program, and `force` is false.
    """
    if out.is_symlink() and not out.exists():
        raise StoreError(f"{out} is a link to a folder that does not exist; remove it, or choose another folder.")
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out} is a file, and a site is a folder; choose another path.")
    if not out.exists() or force:
        return
    content = sorted(entry.name for entry in out.iterdir())
    if content and MARKER not in content:
        raise StoreError(
            f"The folder {out} is not empty and was not made by `harness site`; choose another one, or say --force to "
            "write the site beside what is there (files with the same names are replaced, others are kept)."
        )


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Staged]:
    """Collect the files of a site; at the end of the block they appear in `out`. If the block raises, none does.

    What killed processes of this host left behind while they wrote to `out` is removed first.
    """
    target = out.resolve() if out.exists() else out.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        folder = target.with_name(f"{_stage_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}.new")
        folder.mkdir()
        try:
            stage = Staged(folder)
            yield stage
            stage.finish()
            if target.exists():
                _replace(folder, target, stage.files)
            else:
                folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"The site cannot be written to {out} ({error.strerror or error}); choose another folder."
        ) from error


class Staged:
    """Files of a site that is being written.

    Attributes:
        files: path from the root -> size in bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: dict[str, int] = {}

    def add(self, path: str, content: bytes) -> None:
        """Write a file. Raises ValueError for a path that leads out of the folder, or that was written before."""
        if not is_safe(path):
            raise ValueError(f"{path!r} is not a path within the site")
        if path in self.files:
            raise ValueError(f"{path!r} is written twice")
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.files[path] = len(content)

    def add_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files."""
        for path, content in files.items():
            self.add(path, content)

    def finish(self) -> None:
        """Write the marker."""
        content = {"made_by": "harness site", "files": sorted([*self.files, MARKER])}
        self.add(MARKER, (json.dumps(content, indent=1) + "\n").encode())


def is_safe(path: str) -> bool:
    """Return whether a path is one that a site can have: within its folder, of harmless characters."""
    return path in (MARKER, PLAIN_FILES) or (
        path.endswith(_SUFFIXES) and all(_PART.fullmatch(part) for part in path.split("/"))
    )


def _stage_prefix(target: Path) -> str:
    """Return the start of the names of folders in which this host writes sites for `target`."""
    return f".{target.name}.{host()}-"


def _remove_leftovers(target: Path) -> None:
    """Remove the unfinished sites for `target` of processes of this host that are dead."""
    prefix = _stage_prefix(target)
    for entry in list(target.parent.iterdir()):
        stage = _STAGE.fullmatch(entry.name.removeprefix(prefix)) if entry.name.startswith(prefix) else None
        if stage and entry.is_dir() and not entry.is_symlink() and not is_alive(int(stage[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _replace(folder: Path, target: Path, files: Mapping[str, int]) -> None:
    """Move the files of `folder` into `target`, pages last, and remove those of an earlier site that are not there."""
    for path in files:
        parent = target
        for part in PurePosixPath(path).parts[:-1]:
            parent = parent / part
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                raise StoreError(f"{parent} is not a folder of its own; remove it, or choose another folder.")
    earlier = _earlier(target)
    for path in sorted(files, key=lambda path: (path == MARKER, path.endswith(".html"), path)):
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        (folder / path).replace(file)
    for path in sorted(earlier - set(files)):
        _remove(target, path)


def _earlier(target: Path) -> set[str]:
    """Return the files of the site that is in a folder: those of its marker that may be removed."""
    try:
        marker = target / MARKER
        if marker.is_symlink() or marker.stat().st_size > _MOST_MARKER:
            return set()
        files = json.loads(marker.read_text(encoding="utf-8"))["files"]
        return {path for path in files if isinstance(path, str) and is_safe(path)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _remove(target: Path, path: str) -> None:
    """Remove a file of an earlier site, and its folder if it is empty; nothing behind a link."""
    file = target / path
    if any(parent.is_symlink() for parent in file.parents if parent != target and target in parent.parents):
        return
    if file.is_file() or file.is_symlink():
        file.unlink()
    with contextlib.suppress(OSError):
        if file.parent != target:
            file.parent.rmdir()
