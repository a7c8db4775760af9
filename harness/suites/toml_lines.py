"""Line numbers of the values of a TOML file, which ``tomllib`` does not provide."""

from __future__ import annotations

import bisect
import tomllib
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

_BLANK = " \t"
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class TomlLine(NamedTuple):
    """Source and line of a value."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


class TomlTable(dict[str, Any]):
    """Table with the location of itself and of each value; locations are kept when tables are merged."""

    def __init__(self, values: dict[str, Any], places: dict[str, TomlLine], place: TomlLine) -> None:
        super().__init__(values)
        self.places = places
        self.place = place


class Listing(list[Any]):
    """List with the location of each value."""

    def __init__(self, values: list[Any], places: list[TomlLine]) -> None:
        super().__init__(values)
        self.places = places


def read_toml(text: str, source: str) -> TomlTable:
    """Parse a TOML text into tables and lists with locations.

    Raises:
        ValueError: if the text is not valid TOML, as ``tomllib.loads``.
    """
    values = tomllib.loads(text)
    lines = lines_of(text)
    result: TomlTable = _with_places(values, (), lines, source)
    return result


def lines_of(text: str) -> dict[Path, int]:
    """Return path -> line (from 1) of every key, list entry and table of a valid TOML text."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def place_of(values: Any, path: Path) -> TomlLine | None:
    """Return the location of the value at a path, or of the nearest enclosing value; None if there is no file."""
    location = values.place if isinstance(values, TomlTable) else None
    for part in path:
        if isinstance(values, TomlTable) and part in values:
            location = values.places.get(str(part), location)
        elif isinstance(values, Listing) and isinstance(part, int) and part < len(values):
            location = values.places[part]
        else:
            break
        values = values[part]
    return location


def _with_places(value: Any, path: Path, lines: dict[Path, int], source: str) -> Any:
    def place(at: Path) -> TomlLine:
        while at and at not in lines:
            at = at[:-1]
        return TomlLine(source, lines.get(at))

    if isinstance(value, dict):
        inner = {key: _with_places(item, (*path, key), lines, source) for key, item in value.items()}
        return TomlTable(inner, {key: place((*path, key)) for key in value}, place(path))
    if isinstance(value, list):
        items = [_with_places(item, (*path, number), lines, source) for number, item in enumerate(value)]
        return Listing(items, [place((*path, number)) for number in range(len(value))])
    return value


class _Scanner:
    """Scanner of valid TOML that records line numbers; numbers, dates and escapes are skipped without parsing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [number for number, char in enumerate(text) if char == "\n"]
        self.lines: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}
        """array of tables -> index of its last table"""

    def scan(self) -> dict[Path, int]:
        current: Path = ()
        while self._skip(newlines=True):
            if self.text[self.at] == "[":
                current = self._header()
            else:
                self._pair(current)
        return self.lines

    def _line(self, at: int) -> int:
        return bisect.bisect_left(self.breaks, at) + 1

    def _mark(self, path: Path, at: int) -> None:
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], self._line(at))

    def _skip(self, *, newlines: bool) -> bool:
        """Skip blanks and comments (and line ends); return False at the end of the text."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in _BLANK or (newlines and char == "\n"):
                self.at += 1
            else:
                return True
        return False

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
            self._skip(newlines=False)
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
            else:
                while self.at < len(self.text) and self.text[self.at] in _BARE:
                    self.at += 1
            parts.append(next(iter(tomllib.loads(f"{self.text[start : self.at]} = 0"))))
            self._skip(newlines=False)
            if self.at >= len(self.text) or self.text[self.at] != ".":
                return parts
            self.at += 1

    def _value(self, path: Path) -> None:
        self._skip(newlines=True)
        char = self.text[self.at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self.at += 1
            number = 0
            while self._skip(newlines=True) and self.text[self.at] != "]":
                self._mark((*path, number), self.at)
                self._value((*path, number))
                number += 1
                self._skip(newlines=True)
                if self.text[self.at] == ",":
                    self.at += 1
            self.at += 1
        elif char == "{":
            self.at += 1
            while self._skip(newlines=True) and self.text[self.at] != "}":
                self._pair(path)
                self._skip(newlines=True)
                if self.text[self.at] == ",":
                    self.at += 1
            self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if long else quote
        self.at += len(end)
        while not self.text.startswith(end, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(end)
        # A multi-line string may end with up to two quotes before the closing three.
        while long and self.text.startswith(quote, self.at):
            self.at += 1
