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
from results.app.units.single import remember, show_unit
from results.app.widgets import Choice
from results.store import Store
from results.store.images import reference_cell

_SEEDS_PX = 170


def render() -> None:
    """Show the page."""
    wanted = st.query_params.get("unit")
    if wanted is not None:
        remember(wanted)
    heading = st.empty()
    heading.title("Units" if wanted is None else f"Unit {plain(wanted[:20])}")
    with data.page() as store:
        boards = data.require_boards(store)
        addressed = None if wanted is None else _addressed(store)
        controls = st.container(horizontal=True, vertical_alignment="bottom")
        if addressed is not None:
            # A unit has no namesake in another cell, so its page has no choice of the cell.
            choice, record = addressed
            controls.markdown(f":small[{plain(_name(choice, record))}]")
            widgets.warned(choice.board)
        else:
            # A message of the choice stands below the widget.
            with controls.container(key="unit_method"):
                choice = widgets.row_of(boards, default=focus_row(boards))
            finished = queries.finished_cells(store, choice.row.cell_ids)
            if not finished:
                st.info("All cells of this method failed, so it has no units. The page Runs shows the errors.")
                return
            with controls.container(width=_SEEDS_PX):
                record = _seed(finished)
        flags.warn(choice.row)
        cell = _cell(store, record)
        if not cell.summary["n"]:
            st.info("No units are stored for this cell.")
            return
        gallery = gallery_of(store, record)
        if wanted is None:
            show_list(store, cell, gallery, controls)
        else:
            # Set again: the run of the list that this one replaced may have sent its own address after the click.
            st.query_params["unit"] = wanted
            show_unit(store, cell, gallery, wanted, heading)
        gallery.explain()


def _addressed(store: Store) -> tuple[Choice, Record] | None:
    """Return the cell of the address with its row; None if there is no such finished cell."""
    cell_id = st.query_params.get("cell", "")
    choice = data.rows_by_cell(store).get(cell_id)
    record = next(iter(queries.finished_cells(store, [cell_id])), None) if choice else None
    if choice is None or record is None:
        return None
    widgets.remember("cell", cell_id)
    return choice, record


def _name(choice: Choice, record: Record) -> str:
    return f"{choice.row.title_with_flags} · {choice.board.backbone_title} · {choice.board.site} · {_seeds(record)}"


def _seeds(record: Record) -> str:
    return f"token {record['token_seed']}, init {record['init_seed']}"


def _seed(finished: Sequence[Record]) -> Record:
    ids = [row["cell_id"] for row in finished]
    return finished[ids.index(widgets.select("Seeds", ids, "cell", list(map(_seeds, finished))))]


def _cell(store: Store, record: Record) -> Cell:
    cell_id = record["cell_id"]
    n_images = sum(queries_units.class_counts(store, record["evaluation_fingerprint"]).values())
    summary = queries_units.unit_summary(store, cell_id)
    return Cell(record, reference_cell(store, cell_id), summary, n_images)


if __name__ == "__main__":
    render()
