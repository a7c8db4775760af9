"""Hierarchy of classes in a text file beside the class folders (``hierarchy.csv``)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from harness.datasets import files
from harness.datasets.hierarchy import ClassHierarchy, HierarchyError
from methods.errors import UserError
from results.visible_text import visible

#: Name of the file, and its columns.
NAME, COLUMNS = "hierarchy.csv", ("class", "parent")
#: Bytes of the largest file, a hundred times WordNet's nouns.
LARGEST = 1 << 28
#: Letters of the longest name of a parent: names of classes are those of folders, which have at most 255 bytes.
LONGEST_NAME = 255


def read_hierarchy(file: Path, classes: Sequence[str]) -> ClassHierarchy:
    """Return the hierarchy of the ``classes`` in a file of two columns, ``class`` and ``parent``.

    Each line after the header names a child and its parent. A child is a class, or a parent of other lines. Classes
    without a line have no parent. Names are brought into the Unicode form NFC; space around them and empty lines are
    ignored.

    Raises:
        UserError: naming the line, if the file cannot be read, has other columns, a line has an empty, overlong or
            invisible name, a child has two lines, or the hierarchy is invalid (:class:`ClassHierarchy`).
    """
    try:
        text = files.read(file, LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file.name!r} cannot be read: {reason}. It must be UTF-8 text.") from error
    rows = csv.reader(io.StringIO(unicodedata.normalize("NFC", text), newline=""), strict=True)
    parent_of: dict[str, str] = {}
    line_of: dict[str, int] = {}
    header: list[str] | None = None
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if header is None:
                header = _header(cells, file)
                continue
            child, parent = _pair(cells, header, file, rows.line_num)
            if child in parent_of:
                raise UserError(
                    f"Line {rows.line_num} of {file.name!r} gives {child!r} the parent {parent!r}, and line "
                    f"{line_of[child]} {parent_of[child]!r}: keep one of them."
                )
            parent_of[child], line_of[child] = parent, rows.line_num
    except csv.Error as error:
        raise UserError(f"Line {rows.line_num} of {file.name!r} is no line of a CSV file: {error}.") from error
    if header is None:
        raise UserError(f"{file.name!r} is empty: its first line must be {','.join(COLUMNS)}.")
    try:
        return ClassHierarchy.from_pairs(classes, parent_of)
    except HierarchyError as error:
        where = f"Line {line_of[error.child]} of {file.name!r}" if error.child in line_of else repr(file.name)
        raise UserError(f"{where} is no hierarchy of the classes: {error}") from error


def _header(cells: list[str], file: Path) -> list[str]:
    header = [cell.casefold() for cell in cells]
    if any(header.count(column) != 1 for column in COLUMNS):
        raise UserError(
            f"The columns of {file.name!r} are {', '.join(cells)[:80]!r}: the first line must name {COLUMNS[0]} and "
            f"{COLUMNS[1]}, once each."
        )
    return header


def _pair(cells: list[str], header: list[str], file: Path, line: int) -> tuple[str, str]:
    """Return child and parent of a line."""
    if len(cells) != len(header):
        raise UserError(f"Line {line} of {file.name!r} has {len(cells)} columns, and the first line {len(header)}.")
    child, parent = (cells[header.index(column)] for column in COLUMNS)
    for column, name in zip(COLUMNS, (child, parent), strict=True):
        if not name or len(name) > LONGEST_NAME or visible(name, keep="") != name:
            raise UserError(
                f"Line {line} of {file.name!r} has the {column} {visible(name[:40], keep='')!r}: it must be 1 to "
                f"{LONGEST_NAME} letters without control characters."
            )
    return child, parent
