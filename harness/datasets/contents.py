"""Identity of the contents of an image set, and of each of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.datasets.contents_cache import entry_of
from harness.datasets.pixels import SampleDepth, may_exceed_8_bits

if TYPE_CHECKING:
    from harness.datasets.base import ImageRecord, Reader

# Above this total size the fingerprint samples the bytes: hashing all of ImageNet (150 GB) would take longer than many
# runs.
WHOLE_CONTENT_LIMIT = 2 * 1024**3
SAMPLED_BYTES = 4096
#: Increase when the computation of the identity changes: cached ones are then not read.
_VERSION = 1


class Contents(NamedTuple):
    """Contents of an image set."""

    fingerprint: str
    """identity of all names, labels and bytes"""
    keys: np.ndarray
    """(n,) uint64: hash of each image's size and first 4 KiB; equal images have equal keys; 0 for an unreadable file"""
    unreadable: dict[str, str]
    """files that cannot be read from the disk, name to reason"""


def read_contents(records: Sequence[ImageRecord], reader: Reader, depth: SampleDepth) -> Contents:
    """Return the identity of the images: cached if the set is large and no file has changed, else from their bytes.

    The fingerprint ``"content:..."`` is blake2b over name, label, size and bytes of every image if these are under
    2 GiB in all; ``"sampled:..."`` is over name, label, size and the first 4 KiB of each otherwise. A file that cannot
    be read (a dangling link, no permission) contributes its name and label only. Images whose samples are scaled
    otherwise than by the 16-bit rule of the first version contribute their scaling too.
    """
    version = f"{_VERSION}|{WHOLE_CONTENT_LIMIT}|{SAMPLED_BYTES}"
    entry = entry_of(records, reader, version)
    if entry is not None and (cached := entry.read(len(records))) is not None:
        return Contents(*cached)
    contents, depends_on_others = _read(records, reader, depth)
    # The same entry once more: no file has changed while it was read.
    if (
        entry is not None
        and not entry.is_racy
        and not depends_on_others
        and entry_of(records, reader, version) == entry
    ):
        entry.write(contents)
    return contents


def _read(records: Sequence[ImageRecord], reader: Reader, depth: SampleDepth) -> tuple[Contents, bool]:
    """Return the identity of the images, and True if it may depend on more than their names and stamps.

    The scaling of images with 16 bits depends on the images that a subset leaves out. An unreadable file may be
    readable for another reason than its change.
    """
    depends_on_others = False
    digest = hashlib.blake2b(digest_size=16)
    sizes: list[int | None] = []
    unreadable: dict[str, str] = {}
    keys = np.zeros(len(records), np.uint64)
    for record in records:
        try:
            sizes.append(reader.size(record))
        except OSError as error:
            sizes.append(None)
            unreadable[record.name] = _reason(error)
    whole = sum(size or 0 for size in sizes) < WHOLE_CONTENT_LIMIT
    for index, (record, size) in enumerate(zip(records, sizes, strict=True)):
        # The lengths prevent one image's bytes from being confused with the next one's name.
        named = f"{len(record.name)}|{record.name}|{record.label}|"
        try:
            data = b"" if size is None else reader.read(record) if whole else reader.head(record, SAMPLED_BYTES)
        except OSError as error:
            depends_on_others = True
            size, data = None, b""
            unreadable[record.name] = _reason(error)
        if size is None:
            digest.update(f"{named}unreadable|".encode())
            continue
        digest.update(f"{named}{size}|".encode())
        digest.update(data)
        depends_on_others = depends_on_others or may_exceed_8_bits(data)
        digest.update(depth.rescaling(record, data).encode())
        head = hashlib.blake2b(f"{size}|".encode() + data[:SAMPLED_BYTES], digest_size=8).digest()
        keys[index] = int.from_bytes(head, "big")
    fingerprint = f"{'content' if whole else 'sampled'}:{digest.hexdigest()}"
    return Contents(fingerprint, keys, unreadable), depends_on_others


def hash_of(data: bytes) -> bytes:
    """Return a hash of the bytes of an image that two images share only if they are equal."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
