"""Paths of a submission: names of a store as names of folders and files that are safe everywhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

#: Folder of a results repository that holds all submitted results.
RESULTS = "results"
#: Folders beside those of the backbones; the name of a backbone's folder never starts with a low line.
IMAGES, TOURNAMENTS = "_images", "_tournaments"
#: Endings of the files of cells, group scores and tables.
JSON, GROUP, PARQUET = ".json", ".group.json", ".parquet"

#: Most characters of a folder's name.
MAX_SLUG = 80
_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?\Z")
#: Names that are devices on Windows, with any suffix.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|\Z)", re.IGNORECASE)
#: Ids that are hashes: file names of their own.
_HASH = re.compile(r"[0-9a-f]{16,64}\Z")


def slug(name: str) -> str:
    """Return a name of a store as the name of a folder: at most 80 plain characters, no path, no device.

    A name that has to be changed ends with a hash of it, so that two names never share a folder.
    """
    if len(name) <= MAX_SLUG and _SAFE.match(name) and not _DEVICES.match(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name[: 4 * MAX_SLUG]).strip("._-")[: MAX_SLUG - 9].rstrip("._-")
    return f"{plain}-{digest}" if plain and not _DEVICES.match(plain) else f"name-{digest}"


def is_hash(identifier: str) -> bool:
    """Return whether an id is a hash in hexadecimal digits, and so a file name."""
    return bool(_HASH.match(identifier))


def cell_folder(backbone: str, site: str, method: str) -> PurePosixPath:
    """Return the folder of the cells of a method, within the folder `results`."""
    return PurePosixPath(slug(backbone), slug(site), slug(method))


def table_file(document: PurePosixPath, table: str) -> PurePosixPath:
    """Return the Parquet file of a table that belongs to a document, such as `0bad15e00c146d51.units.parquet`."""
    return document.with_name(f"{document.name.removesuffix(JSON)}.{table}{PARQUET}")
