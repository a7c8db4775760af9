"""Gallery of the units of a cell: search, sort and filter, and tiles in pages."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from results.app import queries, queries_units
from results.app.gallery import Gallery
from results.app.queries import Record
from results.app.queries_units import FILTERS, SORTS, UnitList
from results.app.titles import plain
from results.app.units import favourites
from results.app.units.labels import labels_of
from results.app.units.notes import note
from results.app.units.tiles import tile_grid
from results.store import Store

#: Fits rows of two, three, four and six tiles.
PER_PAGE = 12
_NOTHING = "all"
_HOW_TO_READ = (
    "A tile has the four strongest images of a unit. Its title is the commonest class of the nine strongest, and how "
    "many of them have it. The bars count all images by the unit's maximum on them, in half octaves; the strongest are "
    "on the right. MS is the similarity of the unit's top images, chance that of random images at the same kind of "
    "token (CLS or patch)."
)


class Cell(NamedTuple):
    """Cell whose units are shown."""

    record: Record
    """as returned by `queries.cells`"""
    reference: str | None
    """cell with the parents of its units; None if there is none"""
    summary: Record
    """as returned by `queries_units.unit_summary`"""
    n_images: int
    """images of the evaluation split"""

    @property
    def id(self) -> str:
        """Id of the cell."""
        return str(self.record["cell_id"])

    @property
    def is_split(self) -> bool:
        """True if its units are parts of the units of another cell."""
        return bool(self.summary["n_with_parent"]) and self.record["method"] != "identity"

    @property
    def sorts(self) -> list[str]:
        """Orders that the columns of the cell allow, the default first."""
        missing = [
            ("gain", self.is_split and self.reference),
            ("overlap", self.summary["n_redundancy"]),
            ("above chance", self.summary["n_chance"]),
        ]
        allowed = [name for name in SORTS if all(present or word not in name for word, present in missing)]
        # Units at CLS have the highest scores, by chance: images are alike at this token.
        return sorted(allowed, key=lambda name: "above chance" not in name)

    @property
    def filters(self) -> list[str]:
        """Filters that the columns of the cell allow."""
        return [name for name in FILTERS if name != "split units" or self.is_split]


def listed_units(cell: Cell) -> UnitList:
    """Return the units that the address asks for, in its order."""
    asked = st.query_params.get("show")
    filters = ["alive"] if asked is None else [name for name in cell.filters if name in asked.split(",")]
    sort = st.query_params.get("sort")
    return UnitList(
        cell_id=cell.id,
        reference=cell.reference if cell.is_split else None,
        sort=sort if sort in cell.sorts else cell.sorts[0],
        filters=filters,
        search=(st.query_params.get("find") or "").strip()[:100],
        favourites=favourites.of_cell(cell.id),
        fingerprint=cell.record["evaluation_fingerprint"],
    )


def address_of(units: UnitList) -> dict[str, str]:
    """Return the parameters of the address of a list; the defaults are left out."""
    address = {"sort": units.sort, "find": units.search}
    if list(units.filters) != ["alive"]:
        address["show"] = ",".join(units.filters) or _NOTHING
    if units.favourites:
        address[favourites.PARAMETER] = ",".join(map(str, units.favourites))
    return {name: text for name, text in address.items() if text}


def show_list(store: Store, cell: Cell, gallery: Gallery) -> None:
    """Show one page of the gallery."""
    units = listed_units(cell)
    _controls(cell, units)
    number = _page_number()
    rows = queries.records(queries_units.unit_page(store, units, limit=PER_PAGE, offset=(number - 1) * PER_PAGE))
    if not rows and number > 1:
        # The list became shorter than the page in the address.
        number = 1
        rows = queries.records(queries_units.unit_page(store, units, limit=PER_PAGE))
    total = rows[0]["total"] if rows else 0
    note(_count_sentence(cell, units, total))
    if not rows:
        st.info(_empty_sentence(units))
        return
    gallery.prepare(store, rows)
    gallery.prepare_maps(store, cell.id, rows)
    address = address_of(units)
    if number > 1:
        address["page"] = str(number)
    notes = {}
    if units.search:
        notes = {
            row["unit"]: f"found in {row['matches']} of {queries_units.TOP} images" for row in rows if row["matches"]
        }
    labels = labels_of(store, cell.id, rows)
    tile_grid(gallery, cell.id, rows, labels, n_images=cell.n_images, address=address, notes=notes)
    n_pages = -(-total // PER_PAGE)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if n_pages > 1:
            _pagination(n_pages, number)
        favourites.download()
    note(_HOW_TO_READ)


def _controls(cell: Cell, units: UnitList) -> None:
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        _set("find", units.search)
        st.text_input(
            "Search",
            key="unit find",
            type="search",
            placeholder="class, file name or unit number",
            help="Text in the class or file name of one of a unit's nine strongest images, or the unit's number.",
            on_change=_remember,
            args=("find",),
        )
    with right:
        _set("sort", units.sort)
        st.selectbox("Sort by", cell.sorts, key="unit sort", on_change=_remember, args=("sort",))
    _set("show", list(units.filters))
    st.pills(
        "Show only",
        cell.filters,
        label_visibility="collapsed",
        key="unit show",
        selection_mode="multi",
        on_change=_remember,
        args=("show",),
        format_func=lambda name: _chip(name, cell, units),
    )


def _chip(name: str, cell: Cell, units: UnitList) -> str:
    numbers = {
        "alive": cell.summary["n_alive"],
        "CLS units": cell.summary["n_prefix"],
        "favourites": len(units.favourites),
    }
    return f"{name} ({numbers[name]})" if numbers.get(name) else name


def _set(parameter: str, value: object) -> None:
    """Set a widget from the address, which has priority."""
    if st.session_state.get(f"unit {parameter}") != value:
        st.session_state[f"unit {parameter}"] = value


def _remember(parameter: str) -> None:
    """Put a choice into the address, and begin at the first page of the new list."""
    chosen = st.session_state[f"unit {parameter}"]
    text = ",".join(chosen) or _NOTHING if isinstance(chosen, list) else str(chosen or "")
    if text:
        st.query_params[parameter] = text
    elif parameter in st.query_params:
        del st.query_params[parameter]
    if "page" in st.query_params:
        del st.query_params["page"]


def _page_number() -> int:
    text = st.query_params.get("page", "1")
    return max(int(text), 1) if text.isascii() and text.isdecimal() and len(text) < 7 else 1


def _pagination(n_pages: int, number: int) -> None:
    # The key has the number of pages: a widget keeps its page only within one list.
    key = f"unit page of {n_pages}"
    if st.session_state.get(key) != number:
        st.session_state[key] = number
    st.pagination(n_pages, key=key, on_change=lambda: st.query_params.update(page=str(st.session_state[key])))


def _count_sentence(cell: Cell, units: UnitList, total: int) -> str:
    summary = cell.summary
    sentence = f"{summary['n']} units, {summary['n_alive']} alive, {summary['n_scored']} with an MS score"
    if cell.is_split:
        sentence += f", parts of {summary['n_parents']} parents"
    if units.search:
        return f"{sentence}. {total} found for “{units.search}”, most matching images first."
    return f"{sentence}." + ("" if total == summary["n"] else f" {total} in this list.")


def _empty_sentence(units: UnitList) -> str:
    if units.search:
        return f"No unit in this list has “{plain(units.search)}” among its strongest images, or as its number."
    if "favourites" in units.filters and not units.favourites:
        return "No favourites yet: the star on a unit keeps it here, and in the address of this page."
    if list(units.filters) == ["alive"]:
        return "No unit of this cell is alive on the evaluation images."
    return "No unit of this cell is of this kind."
