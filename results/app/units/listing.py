"""Gallery of the units of a cell: search, sort and filter, and tiles in pages."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from results.app import queries, queries_units
from results.app.gallery import Gallery
from results.app.queries import Record
from results.app.queries_units import FILTERS, SORTS, UnitList
from results.app.titles import plain
from results.app.units import favourites
from results.app.units.concept_labels import concept_labels, label_command, scorers_of
from results.app.units.labels import labels_of
from results.app.units.notes import note
from results.app.units.tiles import tile_grid
from results.store import Store
from results.store.class_labels import TOP

#: Fits rows of two, three, four and six tiles.
PER_PAGE = 12
_CONTROL_PX = 190
_SORT_PX = 236
_NOTHING = "all"
_MEANING = (
    "MS: how alike a unit's strongest images are to the layer, at the place where the unit is strongest (1: equal). "
    "Chance: the same for random images."
)
_HOW_TO_READ = """
- **Title**: the commonest class of the nine strongest images on which the unit is active, and how many of them have it.
- **Label of a scorer** (`harness label`): its best concept for the unit, with its score. Null: the score that 95 % of
  the best concepts stay below when the images are permuted. Grey labels have p > 0.05, as 95 % of all labels by chance.
- **Pictures**: the four strongest images.
- **MS**: MS score, the mean cosine between the unit's strongest images of the layer's output at the token where the
  unit is strongest, weighted by activation.
- **Chance**: the MS score of random images at the same kind of token. CLS tokens are alike whatever the image, so the
  gallery is sorted by MS minus chance.
- **Bars**: all images by the unit's maximum on them, in half octaves; the strongest are on the right.
"""


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
            ("chance", self.summary["n_chance"]),
        ]
        allowed = [name for name in SORTS if all(present or word not in name for word, present in missing)]
        # Units at CLS have the highest scores, by chance: images are alike at this token.
        return sorted(allowed, key=lambda name: "chance" not in name)

    @property
    def filters(self) -> list[str]:
        """Filters that the columns of the cell allow."""
        # A convolutional network has no CLS token: all units are patch units.
        absent = {"CLS units", "patch units"} if self.summary["n_share"] and not self.summary["n_prefix"] else set()
        return [name for name in FILTERS if name not in absent and (name != "split units" or self.is_split)]


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
        concept=" ".join((st.query_params.get("concept") or "")[:100].split()),
    )


def address_of(units: UnitList) -> dict[str, str]:
    """Return the parameters of the address of a list; the defaults are left out."""
    address = {"sort": units.sort, "find": units.search, "concept": units.concept}
    if list(units.filters) != ["alive"]:
        address["show"] = ",".join(units.filters) or _NOTHING
    if units.favourites:
        address[favourites.PARAMETER] = ",".join(map(str, units.favourites))
    return {name: text for name, text in address.items() if text}


def show_list(store: Store, cell: Cell, gallery: Gallery, controls: DeltaGenerator) -> None:
    """Show one page of the gallery, with its search and order in the row `controls`."""
    units = listed_units(cell)
    with controls:
        _search_and_order(cell, units)
    number = _page_number()
    rows = queries.records(queries_units.unit_page(store, units, limit=PER_PAGE, offset=(number - 1) * PER_PAGE))
    if not rows and number > 1:
        # The list became shorter than the page in the address.
        number = 1
        rows = queries.records(queries_units.unit_page(store, units, limit=PER_PAGE))
    total = rows[0]["total"] if rows else 0
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _chips(cell, units)
        note(_count_sentence(cell, units, total), width="content", help=_details(cell))
    if not rows:
        st.info(_empty_sentence(store, cell, units))
        return
    note(_MEANING)
    gallery.prepare(store, rows)
    gallery.prepare_maps(store, cell.id, rows)
    address = address_of(units)
    if number > 1:
        address["page"] = str(number)
    notes = {}
    if units.search:
        notes = {row["unit"]: f"found in {row['matches']} of {TOP} images" for row in rows if row["matches"]}
    labels = labels_of(store, cell.id, rows)
    concepts = concept_labels(store, cell.id, rows)
    tile_grid(gallery, cell.id, rows, labels, concepts, n_images=cell.n_images, address=address, notes=notes)
    n_pages = -(-total // PER_PAGE)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if n_pages > 1:
            _pagination(n_pages, number)
        favourites.download()
    with st.expander("How to read a tile"):
        st.markdown(_HOW_TO_READ)
        if not scorers_of(store, cell.id):
            st.markdown(f"No concept labels yet: `{label_command(cell.record, store.path)}` names the units.")


def _search_and_order(cell: Cell, units: UnitList) -> None:
    _set("find", units.search)
    st.text_input(
        "Search",
        key="unit find",
        type="search",
        placeholder="class, file, number",
        help="Text in the class or file name of one of a unit's nine strongest images, or the unit's number.",
        on_change=_remember,
        args=("find",),
        width=_CONTROL_PX,
    )
    _set("concept", units.concept)
    st.text_input(
        "Concept label",
        key="unit concept",
        type="search",
        placeholder="such as dog",
        help="Only units whose best label by a scorer of harness label has these words, labels above the null first.",
        on_change=_remember,
        args=("concept",),
        width=_CONTROL_PX,
    )
    _set("sort", units.sort)
    st.selectbox("Sort by", cell.sorts, key="unit sort", on_change=_remember, args=("sort",), width=_SORT_PX)


def _chips(cell: Cell, units: UnitList) -> None:
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
        width="content",
    )


def _chip(name: str, cell: Cell, units: UnitList) -> str:
    numbers = {
        "alive": cell.summary["n_alive"],
        "CLS units": cell.summary["n_prefix"],
        "favourites": len(units.favourites),
    }
    return f"{name} ({numbers[name]:,})" if numbers.get(name) else name


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
    # Not set at first: streamlit logs a warning if a widget has both a default and a value of the session.
    if st.session_state.get(key, number) != number:
        st.session_state[key] = number
    st.pagination(
        n_pages,
        default=number,
        key=key,
        on_change=lambda: st.query_params.update(page=str(st.session_state[key])),
    )


def _count_sentence(cell: Cell, units: UnitList, total: int) -> str:
    if units.concept:
        more = f" and found for “{units.search}”" if units.search else ""
        return f"{total:,} with a label such as “{units.concept}”{more}, labels above the null first"
    if units.search:
        return f"{total:,} found for “{units.search}”, most matching images first"
    all_units = cell.summary["n"]
    return f"{total:,} units" if total == all_units else f"{total:,} of {all_units:,} units"


def _details(cell: Cell) -> str:
    """Return numbers of the cell, one per line of Markdown."""
    summary = cell.summary
    lines = [f"{summary['n']:,} units", f"{summary['n_alive']:,} alive (active on some evaluation image)"]
    lines.append(f"{summary['n_scored']:,} with an MS score")
    if cell.is_split:
        lines.append(f"parts of {summary['n_parents']:,} neurons")
    return "".join(f"- {line}\n" for line in lines)


def _empty_sentence(store: Store, cell: Cell, units: UnitList) -> str:
    if units.concept and not scorers_of(store, cell.id):
        command = label_command(cell.record, store.path)
        return f"The units of this cell have no concept labels yet. Name them with `{command}`."
    if units.concept:
        return f"No unit in this list has a label with “{plain(units.concept)}” as the best one of a scorer."
    if units.search:
        return f"No unit in this list has “{plain(units.search)}” among its strongest images, or as its number."
    if "favourites" in units.filters and not units.favourites:
        return "No favourites yet: the star on a unit keeps it here, and in the address of this page."
    if list(units.filters) == ["alive"]:
        return "No unit of this cell is alive on the evaluation images."
    return "No unit of this cell is of this kind."
