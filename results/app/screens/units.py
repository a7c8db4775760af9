"""Units: the pictures behind each number; for split methods the parent beside its sub-units."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import data, flags, navigation, queries, widgets
from results.app.default_rows import focus_row
from results.app.gallery import Gallery, gallery_of, listed
from results.app.queries import Record
from results.app.titles import number, plain
from results.errors import StoreError
from results.store import Store

_PER_PAGE = 10


def render() -> None:
    """Show the page."""
    st.title("Units")
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
            cell = _seed(finished)
        flags.warn(choice.row)
        summary = queries.unit_summary(store, cell["cell_id"])
        if not summary["n"]:
            st.info("No units are stored for this cell.")
            return
        gallery = gallery_of(store, cell)
        reference = queries.reference_cell(store, cell["cell_id"])
        split = bool(summary["n_with_parent"]) and cell["method"] != "identity"
        wanted = st.query_params.get("unit")
        if wanted is None:
            _list(store, cell, reference, gallery, summary, split)
        else:
            # Set again: the run of the list that this one replaced may have sent its own address after the click.
            st.query_params["unit"] = wanted
            _one(store, cell, reference, gallery, wanted, split)
        gallery.explain()


def _seed(finished: Sequence[Record]) -> Record:
    ids = [row["cell_id"] for row in finished]
    titles = [f"token {row['token_seed']}, init {row['init_seed']}" for row in finished]
    return finished[ids.index(widgets.select("Seeds", ids, "cell", titles))]


def _list(store: Store, cell: Record, reference: str | None, gallery: Gallery, summary: Record, split: bool) -> None:
    sorts = [
        name
        for name in queries.SORTS
        if ("gain" not in name or (split and reference)) and ("overlap" not in name or summary["n_redundancy"])
    ]
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    with left:
        sort = widgets.select("Sort by", sorts, "sort", sorts)
    alive_only = middle.toggle("Alive units only", value=True)
    unit_number = right.number_input("Open unit number", 0, summary["last"], value=None, step=1)
    if unit_number is not None:
        st.query_params["unit"] = str(unit_number)
        st.rerun()
    total = summary["n_alive"] if alive_only else summary["n"]
    if not total:
        st.info("No unit of this cell is alive on the evaluation images.")
        return
    st.caption(
        f"{summary['n']} units, {summary['n_alive']} alive, {summary['n_scored']} with an MS score"
        + (f", parts of {summary['n_parents']} parents." if split else ".")
    )
    pages = -(-total // _PER_PAGE)
    page: int = st.pagination(pages, key=f"page of {cell['cell_id']} {sort} {alive_only}") if pages > 1 else 1
    frame = queries.unit_page(
        store,
        cell["cell_id"],
        reference if split else None,
        sort=sort,
        alive_only=alive_only,
        limit=_PER_PAGE,
        offset=(page - 1) * _PER_PAGE,
    )
    units = queries.records(frame)
    gallery.prepare(store, units)
    for unit in units:
        words, pictures = st.columns([1, 4], vertical_alignment="center")
        with words:
            navigation.link("units", f"Unit {unit['unit']}", cell=cell["cell_id"], unit=unit["unit"])
            _say(_numbers(unit, split))
        with pictures:
            gallery.show(unit, f"unit {unit['unit']}", tile_px=100, columns=9)


def _numbers(unit: Record, split: bool) -> list[str]:
    lines = [f"MS score {number(unit['ms_score'])}"]
    # Older stores have no chance level per unit.
    if (chance := unit.get("ms_score_token_null")) is not None:
        lines.append(f"chance {number(chance)}: random images at its kind of token")
    if split and unit.get("gain") is not None:
        lines.append(f"gain {unit['gain']:+.4f} over parent {unit['parent']}")
    for key, name, form in (
        ("redundancy", "unit overlap", ".3f"),
        ("class_purity", "class purity", ".3f"),
        # Often far below one.
        ("polysemanticity", "polysemanticity", ".3g"),
    ):
        if unit[key] is not None:
            lines.append(f"{name} {unit[key]:{form}}")
    positions = listed(unit["top_position"])
    if on_cls := sum(position < 0 for position in positions):
        lines.append(f"{on_cls} of {len(positions)} maxima at CLS")
    if not unit["alive"]:
        lines.append("dead")
    return lines


def _one(store: Store, cell: Record, reference: str | None, gallery: Gallery, wanted: str, split: bool) -> None:
    navigation.link("units", "← all units", cell=cell["cell_id"])
    try:
        unit = queries.unit_by_number(store, cell["cell_id"], int(wanted))
    except (ValueError, StoreError):
        unit = None
    if unit is None:
        st.warning(f"This cell has no unit {plain(wanted)}.")
        return
    st.subheader(f"Unit {unit['unit']}")
    facts = ["the address of this page is a permalink"]
    if unit["max_activation"] is not None:
        facts.insert(0, f"largest activation {unit['max_activation']:.4g}")
    if unit["fires"] is not None:
        facts.insert(0, f"active on {unit['fires']} tokens of the evaluation images")
    st.caption(plain("; ".join(facts)) + ".")
    parent = unit["parent"]
    if not split or parent is None:
        gallery.prepare(store, [unit])
        _card(gallery, unit, f"unit {unit['unit']}", tile_px=150, columns=5, count=20)
        return
    family = queries.siblings(store, cell["cell_id"], parent, unit["unit"])
    original = queries.unit_by_number(store, reference, parent) if reference else None
    gallery.prepare(store, [*family, original])
    left, right = st.columns([1, 2])
    with left:
        st.markdown(f"**Parent: original unit {parent}**")
        if original is None:
            st.text("The unmodified layer is not in this store, so the parent's images are unavailable.")
        else:
            _card(gallery, original, f"parent {parent}", tile_px=110, columns=3)
    with right:
        total = family[0]["total"]
        left_out = "" if total == len(family) else f", {len(family)} of them shown"
        st.markdown(f"**Its {total} sub-unit{'' if total == 1 else 's'}{left_out}, best first**")
        for start in range(0, len(family), 2):
            for column, member in zip(st.columns(2), family[start : start + 2], strict=False):
                with column:
                    scores = member["ms_score"], original and original["ms_score"]
                    member["gain"] = None if None in scores else scores[0] - scores[1]
                    this = " (this one)" if member["unit"] == unit["unit"] else ""
                    label = f"Sub-unit {member['unit']}{this}"
                    navigation.link("units", label, cell=cell["cell_id"], unit=member["unit"])
                    _card(gallery, member, f"sub-unit {member['unit']}", tile_px=110, columns=3, split=True)


def _card(gallery: Gallery, unit: Record, what: str, *, split: bool = False, **layout: int) -> None:
    _say(_numbers(unit, split))
    gallery.show(unit, what, **layout)


def _say(lines: Sequence[str]) -> None:
    st.markdown("  \n".join(f":small[{plain(line)}]" for line in lines))


if __name__ == "__main__":
    render()
