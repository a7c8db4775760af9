"""Index of the members of a tar file, read from its headers; nothing is extracted and no member is read.

The archive may come from somebody else: sizes are checked against the file, long names are bounded, and links, devices
and sparse members are named and left out.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.datasets import files
from methods.errors import UserError
from results.byte_sizes import size_text

#: Bytes of an extended header, which holds a long name.
LARGEST_HEADER = 64 << 10
#: Members of one archive.
MOST_MEMBERS = 5_000_000

_BLOCK = 512
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_IGNORED = (tarfile.DIRTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


class Member(NamedTuple):
    """Regular file of an archive, or another entry with the reason why it is left out."""

    name: str
    offset: int
    """of its first byte in the archive"""
    size: int
    problem: str | None = None


def members(archive: Path, title: str) -> Iterator[Member]:
    """Yield the members of an uncompressed tar file in order.

    Args:
        title: name of the archive in messages.

    Raises:
        UserError: if it cannot be read, is no uncompressed tar file, is damaged, or has too many members.
    """
    try:
        with files.open_regular(archive) as file:
            yield from _members(file, archive.stat().st_size, title)
    except OSError as error:
        raise UserError(f"The archive {title!r} cannot be read ({error.strerror or error}).") from error


def _members(file: BinaryIO, end: int, title: str) -> Iterator[Member]:
    position, count = 0, 0
    long_name: str | None = None
    long_size: int | None = None
    while position + _BLOCK <= end:
        file.seek(position)
        header = _header(file.read(_BLOCK), position, title)
        if header is None:
            return
        count += 1
        if count > MOST_MEMBERS:
            raise UserError(f"The archive {title!r} has more than {MOST_MEMBERS:,} members: divide it into shards.")
        start = position + _BLOCK
        is_file = header.type in _FILES
        size = long_size if is_file and long_size is not None else header.size
        name = header.name if long_name is None else long_name
        # Only these have content; other types may declare any size.
        length = size if is_file or header.type not in (*_LINKS, tarfile.DIRTYPE) else 0
        if not 0 <= length <= end - start:
            if is_file:
                yield Member(name, start, 0, "the archive ends before it does")
                return
            raise _damaged(title, position, f"a header declares {size_text(length)}, and the file ends before")
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if length > LARGEST_HEADER:
                raise _damaged(title, position, f"a name takes {size_text(length)}")
            content = file.read(length)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(content.rstrip(b"\0"))
            else:
                values = _extended(content)
                long_name, long_size = values.name or long_name, values.size
                if values.is_sparse:
                    raise _damaged(title, position, "sparse members are not supported")
        elif header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            long_name = long_size = None
            if is_file:
                yield Member(name, start, size)
            elif header.type not in _IGNORED:
                yield Member(name, start, 0, "it is a link" if header.type in _LINKS else "it is no regular file")
        position = start + -(-length // _BLOCK) * _BLOCK


def _header(block: bytes, position: int, title: str) -> tarfile.TarInfo | None:
    """Return a header; None at the end of the archive."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if not any(block):
            return None
        if position == 0:
            raise UserError(
                f"{title!r} is no uncompressed tar file: images in it are read in place, so uncompress it first "
                "(gunzip, zstd -d)."
            ) from error
        raise _damaged(title, position, str(error)) from error


def _damaged(title: str, position: int, reason: str) -> UserError:
    return UserError(f"The archive {title!r} is damaged at byte {position:,} ({reason}): get it again.")


class _Extended(NamedTuple):
    """Fields of an extended header."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False


def _extended(content: bytes) -> _Extended:
    """Read the records ``LENGTH KEY=VALUE`` of an extended header; what is no record ends them."""
    values: dict[bytes, bytes] = {}
    while content:
        digits, _, _ = content.partition(b" ")
        if not digits.isdigit() or len(digits) > 6 or not len(digits) < int(digits) <= len(content):
            break
        key, _, value = content[len(digits) + 1 : int(digits) - 1].partition(b"=")
        values[key] = value
        content = content[int(digits) :]
    size = values.get(b"size", b"")
    return _Extended(
        _text(values[b"path"]) if values.get(b"path") else None,
        int(size) if size.isdigit() and len(size) < 19 else None,
        any(key.startswith(b"GNU.sparse") for key in values),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
