"""Measured times of a rehearsal, in a file of JSON lines that an interrupted rehearsal continues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: Kinds of pieces: passes of a backbone, one cell, one run of the loop, comparisons of two fits, sections of the trace.
PASSES, CELL, RUN, STABILITY, SECTIONS = "passes", "cell", "run", "stability", "sections"


class Piece(NamedTuple):
    """Measured piece of work."""

    kind: str
    share: str
    key: str
    """key of the passes or of the cell's kind, or name of the suite that was run"""
    seconds: dict[str, float]
    """stage -> measured seconds"""
    estimated: dict[str, float]
    """stage -> doctor's estimate in seconds; stages that it does not know are missing"""
    facts: dict[str, Any]
    """sizes of the piece"""


class Measurements:
    """Pieces of a rehearsal: a later one of the same kind, share and key replaces an earlier one.

    Lines that cannot be read, such as the last one of a killed process, are ignored.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._pieces: dict[tuple[str, str, str], Piece] = {}
        for piece in _read(file):
            self._pieces[piece.kind, piece.share, piece.key] = piece

    def add(self, piece: Piece) -> None:
        """Add a piece, and write it to the file."""
        self._pieces[piece.kind, piece.share, piece.key] = piece
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(piece._asdict()) + "\n")

    def get(self, kind: str, share: str, key: str) -> Piece | None:
        """Return a piece; None if it has not been measured."""
        return self._pieces.get((kind, share, key))

    def of(self, kind: str, share: str | None = None) -> list[Piece]:
        """Return the pieces of a kind, of one share or of both."""
        return [piece for piece in self._pieces.values() if piece.kind == kind and share in (None, piece.share)]


def _read(file: Path) -> Iterator[Piece]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            values: Mapping[str, Any] = json.loads(line)
            yield Piece(**{name: values[name] for name in Piece._fields})
        except (ValueError, TypeError, KeyError):
            continue
