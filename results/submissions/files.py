"""Files of a submission's folder: plain files within the folder, of bounded size and number; links are never followed.

A repository may hold links to any file of the machine that reads it, pipes that never end, and files that fill the
memory. So a file is read only if it is a regular one, and only up to its limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from results.atomic import partial_file
from results.errors import StoreError
from results.store.small_files import PLAIN
from results.submissions.paths import RESULTS
from results.visible_text import one_line

#: Largest number of bytes of a file, by its ending.
MAX_BYTES = {".json": 8_000_000, ".parquet": 64_000_000}
#: Largest number of files of a folder.
MAX_FILES = 200_000
#: Levels of folders below `results`: backbone, site, method.
MAX_LEVELS = 3


class FolderProblem(NamedTuple):
    """Something in a submission that is wrong, in one sentence: the file, the field, and why."""

    file: str
    """path within the folder `results`, or "" if the whole folder is meant"""
    field: str
    """field of the document, or "" if the whole file is meant"""
    why: str

    def __str__(self) -> str:
        words = f"{self.field} {self.why}" if self.field else self.why
        return f"{self.file}: {words}" if self.file else words


def results_folder(folder: Path) -> Path:
    """Return the folder `results` of a repository; `folder` is the repository, or that folder itself.

    Raises:
        StoreError: there is no such folder, or `results` is a link or a file.
    """
    root = folder_for_results(folder)
    if not root.is_dir():
        raise StoreError(
            f"There is no folder {root}; `harness submit STORE --to {folder}` writes one."
            if folder.is_dir()
            else f"There is no folder {folder}; name that of a results repository."
        )
    return root


def folder_for_results(folder: Path) -> Path:
    """Return the folder `results` of a repository, which need not exist.

    Raises:
        StoreError: it is a link or a file.
    """
    root = folder / RESULTS
    if os.path.lexists(root):
        if not stat.S_ISDIR(root.lstat().st_mode):
            raise StoreError(f"{root} is not a folder; a results repository has a folder of that name.")
        return root
    # A repository may have the name `results` too.
    return folder if folder.absolute().name == RESULTS and not (folder / ".git").exists() else root


class Listing(NamedTuple):
    """Regular files of a folder, and what else is in it."""

    files: list[PurePosixPath]
    problems: list[FolderProblem]


def listing(root: Path) -> Listing:
    """Return the files below a folder in alphabetical order, without following links.

    Raises:
        StoreError: there are more than `MAX_FILES`.
    """
    listing = Listing([], [])
    for path, problem in _walk(root, PurePosixPath()):
        if problem:
            listing.problems.append(FolderProblem(one_line(path)[:300], "", problem))
        else:
            listing.files.append(path)
        if len(listing.files) + len(listing.problems) > MAX_FILES:
            raise StoreError(f"{root} has more than {MAX_FILES} files, and at most so many are read.")
    return listing


def _walk(root: Path, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the files below `at`, and what is wrong with those that are not read."""
    with os.scandir(root / at) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = at / entry.name
        if entry.is_symlink():
            yield path, "is a link, which is not followed."
        elif entry.is_dir(follow_symlinks=False):
            if len(path.parts) > MAX_LEVELS:
                yield path, f"is a folder, {MAX_LEVELS + 1} levels deep: results have backbone, site and method."
            else:
                yield from _walk(root, path)
        elif not entry.is_file(follow_symlinks=False):
            yield path, "is not a regular file."
        else:
            yield path, ""


def read_bounded(root: Path, path: PurePosixPath) -> bytes:
    """Return the content of a file of a submission.

    Raises:
        StoreError: it is no regular file, or larger than its ending allows. The message is the end of a sentence that
            starts with the file.
    """
    limit = MAX_BYTES.get(path.suffix, 0)
    try:
        handle = os.open(root / path, os.O_RDONLY | PLAIN)
    except OSError as error:
        raise StoreError(f"cannot be read ({error.strerror})") from error
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError("is not a regular file")
        content = file.read(limit + 1) if status.st_size <= limit else b""
        if status.st_size > limit or len(content) > limit:
            raise StoreError(f"has {status.st_size} bytes, and at most {limit} are read")
        return content


def write_atomically(root: Path, path: PurePosixPath, content: bytes) -> None:
    """Write a file of a submission, replacing one of that name. Folders are made; a link on the way is refused.

    Raises:
        StoreError: a folder of the path is a link or a file.
        OSError: it cannot be written.
    """
    folder = root
    folder.mkdir(parents=True, exist_ok=True)
    for name in path.parts[:-1]:
        folder /= name
        if not os.path.lexists(folder):
            folder.mkdir()
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise StoreError(f"{folder} is a link or a file, and results would be written there; remove it first.")
    with partial_file(folder / path.name) as partial:
        partial.write_bytes(content)
