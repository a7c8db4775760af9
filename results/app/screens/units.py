"""Units: the pictures behind each number, as a gallery, and one unit with its parent, siblings and neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import data, flags, queries, queries_units, widgets
from results.app.default_rows import focus_row
from results.app.gallery import gallery_of
from results.app.queries import Record
from results.app.titles import plain
from results.app.units.listing import Cell, show_list
from results.app.units.single import show_unit
from results.store import Store


def render() -> None:
    """Show the page."""
    wanted = st.query_params.get("unit")
    heading = st.empty()
    heading.title("Units" if wanted is None else f"Unit {plain(wanted[:20])}")
    with data.page() as store:
        left, right = st.columns([3, 1])
        with left:
            boards = data.require_boards(store)
            choice = widgets.row_of(boards, default=focus_row(boards))
        finished = queries.finished_cells(store, choice.row.cell_ids)
        if not finished:
            st.info("All cells of this method failed, so it has no units. The page Runs shows the errors.")
            return
        with right:
            record = _seed(finished)
        flags.warn(choice.row)
        cell = _cell(store, record)
        if not cell.summary["n"]:
            st.info("No units are stored for this cell.")
            return
        gallery = gallery_of(store, record)
        if wanted is None:
            show_list(store, cell, gallery)
        else:
            # Set again: the run of the list that this one replaced may have sent its own address after the click.
            st.query_params["unit"] = wanted
            show_unit(store, cell, gallery, wanted, heading)
        gallery.explain()


def _seed(finished: Sequence[Record]) -> Record:
    ids = [row["cell_id"] for row in finished]
    titles = [f"token {row['token_seed']}, init {row['init_seed']}" for row in finished]
    return finished[ids.index(widgets.select("Seeds", ids, "cell", titles))]


def _cell(store: Store, record: Record) -> Cell:
    cell_id = record["cell_id"]
    n_images = sum(queries_units.class_counts(store, record["evaluation_fingerprint"]).values())
    summary = queries_units.unit_summary(store, cell_id)
    return Cell(record, queries.reference_cell(store, cell_id), summary, n_images)


if __name__ == "__main__":
    render()
