"""Favourite units: kept for the session, in the address of their cell's pages, and exported as CSV.

The address has priority, so that a link to a list of favourites shows the same list to everybody.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
from collections.abc import Mapping, Sequence

import streamlit as st

from results.app import data
from results.app.queries import cells, records
from results.app.units.labels import label_text
from results.csv_guard import csv_cell
from results.store import Store
from results.store.class_labels import labelled

PARAMETER = "stars"
#: Favourites of one cell in an address, which browsers cut when it is too long.
MOST = 200
_KEY, _WRITTEN = "favourite units", "favourites in the address"
_COLUMNS = ("cell_id", "method", "unit", "label", "ms_score", "ms_score_token_null")


def of_cell(cell_id: str) -> list[int]:
    """Return the favourites of a cell, ascending, and put them into the address."""
    by_cell = _by_cell()
    given = st.query_params.get(PARAMETER)
    # After a change of the cell, the address still has the favourites of the one before.
    before, written = st.session_state.get(_WRITTEN, (cell_id, None))
    if given is not None and (before == cell_id or given != written):
        by_cell[cell_id] = _parsed(given)
    units = by_cell.get(cell_id, [])
    _write(cell_id, units)
    return units


def star(cell_id: str, unit: int) -> None:
    """Show the star of a unit: a click adds it to the favourites, or removes it."""
    chosen = unit in _by_cell().get(cell_id, [])
    st.button(
        ":orange[★] Starred" if chosen else "☆ Star",
        key=f"star {cell_id} {unit}",
        type="tertiary",
        help=f"Remove unit {unit} from the favourites" if chosen else f"Add unit {unit} to the favourites",
        on_click=_toggle,
        args=(cell_id, unit),
    )


def number() -> int:
    """Return the number of favourites of all cells."""
    return sum(map(len, _by_cell().values()))


def download() -> None:
    """Show a button that downloads the favourites of all cells as CSV; nothing without favourites."""
    if count := number():
        st.download_button(
            f"Favourites of this session ({count}) as CSV",
            # The session is not at hand when the file is made.
            functools.partial(_csv_text, {cell_id: list(units) for cell_id, units in _by_cell().items()}),
            "favourite_units.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )


def csv_text(store: Store, by_cell: Mapping[str, Sequence[int]]) -> str:
    """Return favourites, given as cell id -> units, as CSV with their method, label and scores."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for cell in cells(store, sorted(cell_id for cell_id, units in by_cell.items() if units)):
        rows = records(labelled(store, cell["cell_id"], by_cell[cell["cell_id"]]))
        for row in rows:
            values = {"cell_id": cell["cell_id"], "method": cell["label"], "label": label_text(row), **row}
            texts = ("" if values[name] is None else values[name] for name in _COLUMNS)
            writer.writerow([csv_cell(text) if isinstance(text, str) else text for text in texts])
    return buffer.getvalue()


def _csv_text(by_cell: Mapping[str, Sequence[int]]) -> str:
    with contextlib.closing(data.PageStore(data.store().path)) as store:
        return csv_text(store, by_cell)


def _toggle(cell_id: str, unit: int) -> None:
    units = set(_by_cell().get(cell_id, []))
    _by_cell()[cell_id] = sorted(units ^ {unit})[:MOST]
    _write(cell_id, _by_cell()[cell_id])


def _by_cell() -> dict[str, list[int]]:
    by_cell: dict[str, list[int]] = st.session_state.setdefault(_KEY, {})
    return by_cell


def _write(cell_id: str, units: Sequence[int]) -> None:
    text = ",".join(map(str, units))
    st.session_state[_WRITTEN] = (cell_id, text)
    if text and st.query_params.get(PARAMETER) != text:
        st.query_params[PARAMETER] = text
    elif not text and PARAMETER in st.query_params:
        del st.query_params[PARAMETER]


def _parsed(text: str) -> list[int]:
    # An index of the store is a 32-bit integer.
    numbers = (int(part) for part in text.split(",") if part.isascii() and part.isdecimal() and len(part) < 10)
    return sorted(set(numbers))[:MOST]
