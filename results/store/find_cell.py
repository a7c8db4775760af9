"""Lookup of one cell by its id, the first digits of it, or the name of a row that has one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.errors import StoreError
from results.nearest_names import alternatives
from results.visible_text import names_text, one_line

#: Fewest digits of a cell's id that select it.
SHORTEST_ID = 4


def find_cell(cells: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the cell with this id, its first digits, or the name of a row that has one finished cell.

    Args:
        cells: rows of ``Store.cells()``.
        name: id, its first 4 or more digits, or label, configuration id or method name of a row.

    Raises:
        StoreError: no cell or several have the name.
    """
    wanted = name.strip().casefold()
    by_id = [cell for cell in cells if str(cell["cell_id"]).casefold().startswith(wanted)]
    if len(wanted) < SHORTEST_ID:
        by_id = []
    by_name = [
        cell
        for cell in cells
        if wanted in (str(cell[column]).casefold() for column in ("label", "config_id", "method"))
        and cell["status"] == "finished"
    ]
    matching = by_id or by_name
    if len(matching) == 1:
        return matching[0]
    if matching:
        candidates = [f"{cell['cell_id']} ({_described(cell)})" for cell in matching]
        raise StoreError(
            f"{name!r} matches {len(candidates)} cells: give the id of one of them. {'; '.join(candidates[:12])}."
        )
    finished = [cell for cell in cells if cell["status"] == "finished"]
    if not finished:
        raise StoreError("This store has no finished cell, and only finished cells have weights and units.")
    labels = list(dict.fromkeys(one_line(cell["label"]) for cell in finished))
    raise StoreError(
        f"There is no cell {name!r} in this store: give the id of a cell (`harness export - --what cells`), or the "
        f"name of a row with one cell. {alternatives(name, labels)}"
    )


def _described(cell: Mapping[str, Any]) -> str:
    return names_text([f"{cell['label']} at {cell['site']}", f"token seed {cell['token_seed']}"])
