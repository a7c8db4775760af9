"""Identity of the contents of an image set, and of each of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.datasets.pixels import SampleDepth

if TYPE_CHECKING:
    from harness.datasets.base import ImageRecord, Reader

# Above this total size the fingerprint samples the bytes: hashing all of ImageNet (150 GB) would take longer than many
# runs.
WHOLE_CONTENT_LIMIT = 2 * 1024**3
SAMPLED_BYTES = 4096


class Contents(NamedTuple):
    """Contents of an image set."""

    fingerprint: str
    """identity of all names, labels and bytes"""
    keys: np.ndarray
    """(n,) uint64: hash of each image's size and first 4 KiB; equal images have equal keys; 0 for an unreadable file"""
    unreadable: dict[str, str]
    """files that cannot be read from the disk, name to reason"""


def read_contents(records: Sequence[ImageRecord], reader: Reader, depth: SampleDepth) -> Contents:
    """Read the bytes of the images once and return their identity.

    The fingerprint ``"content:..."`` is blake2b over name, label, size and bytes of every image if these are under
    2 GiB in all; ``"sampled:..."`` is over name, label, size and the first 4 KiB of each otherwise. A file that cannot
    be read (a dangling link, no permission) contributes its name and label only. Images whose samples are scaled
    otherwise than by the 16-bit rule of the first version contribute their scaling too.
    """
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
            size, data = None, b""
            unreadable[record.name] = _reason(error)
        if size is None:
            digest.update(f"{named}unreadable|".encode())
            continue
        digest.update(f"{named}{size}|".encode())
        digest.update(data)
        digest.update(depth.rescaling(record, data).encode())
        head = hashlib.blake2b(f"{size}|".encode() + data[:SAMPLED_BYTES], digest_size=8).digest()
        keys[index] = int.from_bytes(head, "big")
    return Contents(f"{'content' if whole else 'sampled'}:{digest.hexdigest()}", keys, unreadable)


def hash_of(data: bytes) -> bytes:
    """Return a hash of the bytes of an image that two images share only if they are equal."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
