"""Cache of the identities of large image sets, so that a million files are not read again at each start.

An entry is valid as long as no file has changed: its name is a hash of the names, labels, paths, sizes, inodes, and
times of modification and of change of all images. A file changed within :data:`RACY_S` seconds is not trusted, since it
could change once more without another time. Entries are in the user's cache folder, because one set serves many stores;
a damaged entry is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.atomic import create_partial, remove, replace_atomically
from harness.datasets import files
from methods.errors import UserError

if TYPE_CHECKING:
    from harness.datasets.base import ImageRecord, Reader
    from harness.datasets.contents import Contents

#: Sets of fewer images with fewer bytes are read at each start, which takes less than a second.
LEAST_IMAGES, LEAST_BYTES = 10_000, 64 << 20
#: Seconds within which two changes of a file may have equal times: FAT stores them in steps of two seconds.
RACY_S = 2.0
#: Newest entries that are kept. An entry takes 8 bytes per image.
MAX_ENTRIES = 32

FORMAT = 1
_CHECKSUM_BYTES = 16


class Stamp(NamedTuple):
    """Evidence that the encoded bytes of an image are those of an earlier time."""

    identity: str
    """text that differs once the bytes have changed"""
    size: int
    """number of encoded bytes"""
    changed: float
    """time of the last change, in seconds since 1970"""

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of a file; raises OSError if there is none."""
        status = path.stat()
        # The time of change as well: copying tools set that of modification to an earlier one.
        times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
        identity = f"{path}|{status.st_size}|{status.st_ino}|{status.st_mode}|{times}"
        return cls(identity, status.st_size, max(status.st_mtime, status.st_ctime))


class Entry(NamedTuple):
    """Place of a set's identity in the cache."""

    file: Path
    is_racy: bool
    """True if an image has changed within the last seconds, so that its identity must not be stored"""

    def read(self, n_images: int) -> tuple[str, np.ndarray, dict[str, str]] | None:
        """Return fingerprint, keys and unreadable files; None if there is no entry, or a damaged one."""
        try:
            data = files.read(self.file)
        except OSError:
            return None
        checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        if _checksum(body) != checksum:
            return None
        header, _, keys = body.partition(b"\n")
        values = json.loads(header)
        if len(keys) != 8 * n_images:
            return None
        return values["fingerprint"], np.frombuffer(keys, np.uint64), values["unreadable"]

    def write(self, contents: Contents) -> None:
        """Write the identity. A folder that cannot be written is no error: the images are read at each start."""
        header = json.dumps({"fingerprint": contents.fingerprint, "unreadable": contents.unreadable})
        body = header.encode() + b"\n" + contents.keys.tobytes()
        try:
            partial = create_partial(self.file, folder=False)
        except UserError:
            return
        try:
            partial.write_bytes(_checksum(body) + body)
            replace_atomically(partial, self.file)
            _remove_oldest(self.file.parent)
        except OSError:
            pass
        finally:
            remove(partial)


def entry_of(records: Sequence[ImageRecord], reader: Reader, version: str) -> Entry | None:
    """Return the entry of a set as it is now; None if the set is small, or its reader cannot tell a change.

    Args:
        version: of the computation of the identity.
    """
    if not hasattr(reader, "stamp"):  # a reader of a plugin need not derive from ours
        return None
    now = time.time()
    digest = hashlib.blake2b(f"{FORMAT}|{version}".encode(), digest_size=16)
    n_bytes, changed = 0, 0.0
    for record in records:
        named = f"{len(record.name)}|{record.name}|{record.label}|"
        try:
            stamp = reader.stamp(record)
        except OSError as error:
            digest.update(f"{named}unreadable|{error.errno}|".encode())
            continue
        if stamp is None:
            return None
        digest.update(f"{named}{len(stamp.identity)}|{stamp.identity}|".encode("utf-8", "surrogateescape"))
        n_bytes, changed = n_bytes + stamp.size, max(changed, stamp.changed)
    if len(records) < LEAST_IMAGES and n_bytes < LEAST_BYTES:
        return None
    return Entry(cache_folder() / digest.hexdigest(), is_racy=changed > now - RACY_S)


def cache_folder() -> Path:
    """Return the folder of the entries, in the user's cache folder (``XDG_CACHE_HOME``, or ``~/.cache``)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    with contextlib.suppress(RuntimeError):  # no home folder
        base = base.expanduser()
    return base / "harness" / "image_sets"


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _remove_oldest(folder: Path) -> None:
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=os.path.getmtime)
    for entry in entries[:-MAX_ENTRIES]:
        entry.unlink(missing_ok=True)
