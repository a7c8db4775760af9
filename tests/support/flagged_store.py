"""The board of `flagged_board` in a store, for the pages of the app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flagged_board import Cells, flagged_cells

from results import Store, open_store


def write(store: Store, cells: Cells) -> None:
    """Write cells with their scores to a store."""
    for cell_id, cell in cells.cells.items():
        store.record(cell, cells.scores[cell_id])


def record(store: Store, label: str, ms: Sequence[float], **settings: Any) -> None:
    """Write one row to a store; the settings are those of `Cells.record`."""
    cells = Cells()
    cells.record(label, ms, **settings)
    write(store, cells)


def make_store(path: Path) -> Store:
    """Return a new store with the rows of `flagged_cells`."""
    write(open_store(path, read_only=False), flagged_cells())
    return open_store(path)
