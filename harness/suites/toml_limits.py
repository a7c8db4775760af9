"""Limits of a suite file, checked before and after TOML is parsed, so that no file takes long or much memory."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import UserError
from results.byte_sizes import size_text

#: Bytes of a suite file. A suite with a thousand methods has about 100 kB.
MOST_BYTES = 2**19
#: Levels of tables and lists, and parts of a dotted key; the harness needs seven. The time to parse a key grows with
#: the square of its parts.
MOST_LEVELS = 32
#: Files that one suite may consist of, each counted as often as another one names it.
MOST_FILES = 1000
#: Files that may build on each other.
MOST_FILES_DEEP = 32
#: Letters of a text, such as a description.
MOST_LETTERS = 20_000

#: Ends of what may be a dotted key.
_AROUND_KEYS = re.compile(r"[=,{}\[\]\n]")
#: Point between two parts of a key; dots in a row, as in a comment, are not.
_POINT = re.compile(r"(?<!\.)\.(?!\.)")


def read_limited(file: Path) -> bytes:
    """Return the content of a suite file.

    Raises:
        UserError: if it is larger than :data:`MOST_BYTES`.
        OSError: if it cannot be read.
    """
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{file.name}: the file is larger than {size_text(MOST_BYTES)}, too large for a suite.")
    return content


def require_short_keys(text: str, source: str) -> None:
    """Raise UserError for a key of more than :data:`MOST_LEVELS` parts, which would take long to parse."""
    for piece in _AROUND_KEYS.split(text):
        if piece.count(".") > MOST_LEVELS and len(_POINT.findall(piece)) > MOST_LEVELS:
            start = piece[:40].strip()
            raise UserError(f"{source}: not valid TOML: a key has more than {MOST_LEVELS} parts, {start!r}...")


def value_problem(values: Any) -> tuple[tuple[str | int, ...], str] | None:
    """Return path and sentence of the first value that no suite can have; None if there is none.

    These are dates and times, texts of more than :data:`MOST_LETTERS` letters, and values nested deeper than
    :data:`MOST_LEVELS`.
    """
    for path, value in _leaves(values):
        where = ".".join(map(str, path))
        if len(path) > MOST_LEVELS:
            return path, f"{where[:80]}...: values are nested deeper than {MOST_LEVELS} levels."
        if isinstance(value, datetime.date | datetime.time):
            return path, f"{where} = {value}: no setting is a date or time; put it in quotes if it is a text."
        if isinstance(value, str) and len(value) > MOST_LETTERS:
            return path, f"{where}: the text has {len(value)} letters, at most {MOST_LETTERS} are allowed."
    return None


def _leaves(values: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield path and value of everything that is no table or list, and of what is too deep; without recursion."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), values)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict | list) and len(path) <= MOST_LEVELS:
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), item) for key, item in inner]
        else:
            yield path, value
