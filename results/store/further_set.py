"""Notes of cells that were evaluated on another image set than the one on which their method was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Start of the notes on the further set of a cell. A cell without such a note was evaluated on the set of its fit, or
#: computed by a version that recorded none.
FURTHER_SET = "Further image set: "


def is_on_further_set(cell: Mapping[str, Any]) -> bool:
    """Return True if a row of ``Store.cells()`` has a note on a further image set.

    Cells from before these notes are told by the name of their suite, to which a run appends the further set.
    """
    notes, suite, dataset = (cell.get(name) for name in ("notes", "suite", "dataset"))
    if isinstance(notes, list | tuple) and any(
        isinstance(note, str) and note.startswith(FURTHER_SET) for note in notes
    ):
        return True
    return isinstance(suite, str) and isinstance(dataset, str) and bool(dataset) and suite.endswith(f" on {dataset}")
