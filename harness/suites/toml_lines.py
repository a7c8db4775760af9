"""Line numbers of the values of a TOML file, which ``tomllib`` does not provide."""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE_IN_LINE = re.compile(r"(?:[ \t]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]*")
#: A multi-line string may end with up to two quotes before the closing three.
_STRING = re.compile(r'''"""(?:\\.|[^\\])*?""""{0,2}|"(?:\\.|[^"\\])*"''' r"""|'''.*?''''{0,2}|'[^']*'""", re.DOTALL)
_OTHER_VALUE = re.compile(r"[^,\]}#\n]*")


class TomlLine(NamedTuple):
    """Source and line of a value."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


class TomlTable(dict[str, Any]):
    """Table with the location of itself and of each value; locations are kept when tables are merged."""

    def __init__(self, values: dict[str, Any], value_lines: dict[str, TomlLine], line: TomlLine) -> None:
        super().__init__(values)
        self.value_lines = value_lines
        self.line = line


class TomlList(list[Any]):
    """List with the location of each value."""

    def __init__(self, values: list[Any], value_lines: list[TomlLine]) -> None:
        super().__init__(values)
        self.value_lines = value_lines


def read_toml(text: str, source: str) -> TomlTable:
    """Parse a TOML text into tables and lists with locations.

    Raises:
        ValueError: if the text is not valid TOML, as ``tomllib.loads``.
    """
    values = tomllib.loads(text)
    lines = lines_of(text)
    result: TomlTable = _with_lines(values, (), lines, source)
    return result


def lines_of(text: str) -> dict[Path, int]:
    """Return path -> line (from 1) of every key, list entry and table of a valid TOML text."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def line_at(values: Any, path: Path) -> TomlLine | None:
    """Return the location of the value at a path, or of the nearest enclosing value; None if there is no file."""
    line = values.line if isinstance(values, TomlTable) else None
    for part in path:
        if isinstance(values, TomlTable) and part in values:
            line = values.value_lines.get(str(part), line)
        elif isinstance(values, TomlList) and isinstance(part, int) and part < len(values):
            line = values.value_lines[part]
        else:
            break
        values = values[part]
    return line


def _with_lines(value: Any, path: Path, lines: dict[Path, int], source: str) -> Any:
    def line(at: Path) -> TomlLine:
        while at and at not in lines:
            at = at[:-1]
        return TomlLine(source, lines.get(at))

    if isinstance(value, dict):
        inner = {key: _with_lines(item, (*path, key), lines, source) for key, item in value.items()}
        return TomlTable(inner, {key: line((*path, key)) for key in value}, line(path))
    if isinstance(value, list):
        items = [_with_lines(item, (*path, number), lines, source) for number, item in enumerate(value)]
        return TomlList(items, [line((*path, number)) for number in range(len(value))])
    return value


class _Scanner:
    """Scanner of valid TOML that records line numbers; numbers, dates and escapes are skipped without parsing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.lines: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}
        """array of tables -> index of its last table"""

    def scan(self) -> dict[Path, int]:
        current: Path = ()
        while char := self._next():
            if char == "[":
                current = self._header()
            else:
                self._pair(current)
        return self.lines

    def _mark(self, path: Path, at: int) -> None:
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], bisect.bisect_left(self.breaks, at) + 1)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Skip what matches and return it."""
        match = pattern.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return match[0]

    def _next(self, space: re.Pattern[str] = _SPACE) -> str:
        """Skip white space and comments, and return the next character; "" at the end of the text."""
        self._skip(space)
        return self.text[self.at : self.at + 1]

    def _header(self) -> Path:
        start = self.at
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        keys = self._key()
        self.at = self.text.index("]", self.at) + (2 if double else 1)
        path: Path = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            if double and number == len(keys) - 1:
                self.tables[path] = self.tables.get(path, -1) + 1
            if path in self.tables:
                self._mark(path, start)
                path = (*path, self.tables[path])
        self._mark(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start = self.at
        path = (*table, *self._key())
        self._mark(path, start)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _key(self) -> list[str]:
        """Scan a dotted key and return its parts."""
        parts: list[str] = []
        while True:
            written = self._skip(_STRING if self._next(_SPACE_IN_LINE) in ('"', "'") else _BARE_KEY)
            parts.append(next(iter(tomllib.loads(f"{written} = 0"))))
            if self._next(_SPACE_IN_LINE) != ".":
                return parts
            self.at += 1

    def _value(self, path: Path) -> None:
        char = self._next()
        if char in ('"', "'"):
            self._skip(_STRING)
        elif char in ("[", "{"):
            end = {"[": "]", "{": "}"}[char]
            self.at += 1
            number = 0
            while self._next() != end:
                if char == "[":
                    self._mark((*path, number), self.at)
                    self._value((*path, number))
                else:
                    self._pair(path)
                number += 1
                if self._next() == ",":
                    self.at += 1
            self.at += 1
        else:
            self._skip(_OTHER_VALUE)
