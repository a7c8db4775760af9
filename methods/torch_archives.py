"""Files of ``torch.save`` before they are read: nothing in them may become larger than the file.

``torch.save`` writes a zip archive whose members are stored as they are, or, before version 1.6, pickles followed by
numbers. A member that is compressed can be unpacked to a thousand times its size, and a few bytes of a pickle can ask
for any amount of memory, although ``weights_only`` runs no code.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from methods.errors import UserError

#: Most members of an archive, and most bytes and operations of a pickle: the tensors are outside of it.
_MOST_MEMBERS, _MOST_PICKLE, _MOST_OPERATIONS = 100_000, 64 << 20, 500_000
#: Most values that the calls of a pickle are given: each may copy them, and a few bytes name the same values again.
_MOST_COPIED = 20_000_000
#: Pickles at the start of a file without an archive: a magic number, a protocol, the system, the content, the keys.
_LEGACY_PICKLES = 5
_NEWEST_PROTOCOL = 5
_BYTEARRAYS = frozenset({"builtins bytearray", "__builtin__ bytearray"})

_ZIP_START, _NOT_TORCH = b"PK\x03\x04", "its archive is not as torch.save writes one"
_END, _END64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")


def require_bounded(file: BinaryIO) -> None:
    """Check that reading a file of ``torch.save`` needs memory in proportion to its size; leave it at its start.

    Raises:
        UserError: if it does not, or if the file is damaged; the message is the end of a sentence.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(len(_ZIP_START))
    file.seek(0)
    try:
        if start == _ZIP_START:
            _require_archive(file, size)
        else:
            _require_pickles(file.read(_MOST_PICKLE), _LEGACY_PICKLES)
    except (zipfile.BadZipFile, struct.error, ValueError, IndexError, NotImplementedError, OSError) as error:
        raise UserError("it is damaged or no torch file") from error
    finally:
        file.seek(0)


def _require_archive(file: BinaryIO, size: int) -> None:
    directory, count = _directory(file, size)
    if count > _MOST_MEMBERS:
        raise UserError(f"its archive has {count} members, and {_MOST_MEMBERS} is the most")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        # Of torch and zipfile, each finds the list of members by itself: they must mean the same one.
        if archive.start_dir != directory:
            raise UserError(_NOT_TORCH)
        for member in members:
            is_stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
            if not is_stored or member.flag_bits & 1:
                raise UserError(
                    f"the member {member.filename[:60]!r} of its archive is compressed or encrypted, and torch.save "
                    "stores members as they are"
                )
        if sum(member.file_size for member in members) > size:
            raise UserError("the members of its archive are larger together than the file")
        for member in members:
            if member.filename.lower().endswith("data.pkl"):
                if member.file_size > _MOST_PICKLE:
                    raise UserError(f"its pickle has more than {_MOST_PICKLE >> 20} MiB without the tensors")
                _require_pickles(archive.read(member), 1)


def _directory(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return the offset of the list of members of an archive without a comment, and their number."""
    end = size - _END.size
    signature, _, _, _, count, _, offset, comment = _END.unpack(_at(file, end, _END.size))
    if signature != b"PK\x05\x06" or comment:
        raise UserError(_NOT_TORCH)
    locator = end - _LOCATOR.size
    if locator < _END64.size or not (found := _at(file, locator, _LOCATOR.size)).startswith(b"PK\x06\x07"):
        return offset, count
    where = locator - _END64.size
    signature64, length, *_, count, _, offset = _END64.unpack(_at(file, where, _END64.size))
    if _LOCATOR.unpack(found)[2] != where or signature64 != b"PK\x06\x06" or length != _END64.size - 12:
        raise UserError(_NOT_TORCH)
    return offset, count


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(max(offset, 0))
    return file.read(size)


def _require_pickles(content: bytes, count: int) -> None:
    """Check pickles at the start of some bytes. Their operations are listed, and not executed."""
    stream = io.BytesIO(content)
    machine = _Machine()
    for _ in range(count):
        machine.stack.clear()
        machine.marks.clear()
        for operation, argument, _ in pickletools.genops(stream):
            machine.step(operation, argument)


@dataclass(slots=True)
class _Value:
    """Size of a value of a pickle: its letters, or the number of its members."""

    size: int = 1
    of_members: int = 0
    """sizes of the members of a tuple, all together"""


@dataclass
class _Machine:
    """Stack of the sizes of the values of a pickle, and the number of values that its calls are given."""

    stack: list[_Value] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[Any, _Value] = field(default_factory=dict)
    n_operations: int = 0
    copied: int = 0

    def step(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one operation.

        Raises:
            UserError: if there are too many, or they copy too much.
            IndexError: if the pickle is damaged.
            ValueError: for an operation that torch.save does not write.
        """
        self.n_operations += 1
        if self.n_operations > _MOST_OPERATIONS:
            raise UserError(f"its pickle has more than {_MOST_OPERATIONS} operations")
        if operation.name == "PROTO" and argument > _NEWEST_PROTOCOL:
            raise ValueError(f"there is no protocol {argument}")
        if operation.name == "GLOBAL" and argument in _BYTEARRAYS:
            raise UserError("its pickle makes arrays of bytes, and weights are tensors")
        if operation.name not in ("PROTO", "STOP"):
            self._follow(operation, argument)

    def _follow(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        stack, name = self.stack, operation.name
        if name == "MARK":
            self.marks.append(len(stack))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name in _TUPLES:
            members = self._marked() if name == "TUPLE" else [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(_Value(len(members), sum(member.size for member in members)))
        elif name in ("APPENDS", "SETITEMS"):
            members = self._marked()
            stack[-1].size += len(members)
        elif name in ("APPEND", "SETITEM"):
            del stack[-1 if name == "APPEND" else -2 :]
            stack[-1].size += 1
        elif name in ("REDUCE", "NEWOBJ", "BUILD"):
            given = stack.pop()
            self.copied += given.size + given.of_members
            if self.copied > _MOST_COPIED:
                raise UserError(f"its pickle copies more than {_MOST_COPIED} values")
            stack[-1] = _Value(stack[-1].size + given.size + given.of_members)
        elif name == "BINPERSID":
            stack[-1] = _Value()
        elif not operation.stack_before:
            stack.append(_Value(len(argument) if isinstance(argument, str | bytes) else 1))
        else:
            raise ValueError(f"torch.save writes no {name}")

    def _marked(self) -> list[_Value]:
        """Remove the values above the last mark, and return them."""
        start = self.marks.pop()
        members = self.stack[start:]
        del self.stack[start:]
        return members


#: Operations that make a tuple -> its number of members; that of TUPLE is given by a mark.
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": -1}
