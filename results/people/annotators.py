"""Names of annotators, which are names of files as well."""

from __future__ import annotations

import re
from pathlib import Path

from results.errors import StoreError

MAX_NAME = 40
_NAME = re.compile(rf"[a-z0-9_-]{{1,{MAX_NAME}}}")
#: Largest number of annotators beside a store. An app that is open to others must not fill the disk.
MAX_ANNOTATORS = 1000
#: Suffix of a file of votes.
SUFFIX = ".jsonl"


def annotator_name(text: str) -> str:
    """Return the name of an annotator in lower case, since some file systems do not tell "Anna" from "anna".

    Raises:
        StoreError: if it is no name.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{text!r} is no name of an annotator: give 1 to {MAX_NAME} of the letters a to z, digits, - and _."
        )
    return name


def votes_folder(folder: Path) -> Path:
    """Return the folder of the files of votes of a store; `folder` is that of the store."""
    return folder / "people" / "votes"


def annotators(folder: Path) -> list[str]:
    """Return the annotators with a file of votes beside a store, sorted.

    Links and files with other names are ignored.
    """
    try:
        paths = sorted(votes_folder(folder).iterdir())
        files = [path for path in paths if path.suffix == SUFFIX and path.is_file() and not path.is_symlink()]
    except OSError:
        return []
    return [path.stem for path in files if _NAME.fullmatch(path.stem)][:MAX_ANNOTATORS]
