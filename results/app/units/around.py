"""Units around one unit: parent and siblings, units that respond to the same images, and judged comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping

import streamlit as st

from results.app import navigation, queries, queries_judging, queries_units
from results.app.gallery import Gallery, listed
from results.app.queries import Record
from results.app.queries_units import NEAR_TOP
from results.app.titles import plain, visible
from results.app.units.concept_labels import concept_labels
from results.app.units.facts import chance_of, is_prefix_unit
from results.app.units.labels import labels_of
from results.app.units.listing import Cell
from results.app.units.notes import note
from results.app.units.tiles import score_text, tile_grid
from results.minus_sign import with_minus
from results.store import Store

_FAMILY_PX = 72
_MOST_SIBLINGS = 8


def show_family(store: Store, cell: Cell, gallery: Gallery, unit: Record, address: Mapping[str, object]) -> None:
    """Show the parent of a unit beside all units that it was split into (Figure 3 of the ELUDe paper)."""
    parent = unit["parent"]
    family = queries.siblings(store, cell.id, parent, unit["unit"], limit=_MOST_SIBLINGS)
    original = queries.unit_by_number(store, cell.reference, parent) if cell.reference else None
    gallery.prepare(store, [*family, original])
    gallery.prepare_maps(store, cell.id, family)
    if cell.reference:
        gallery.prepare_maps(store, cell.reference, [original])
    gallery.decode_ahead([*family, *([original] if original else [])], _FAMILY_PX)
    labels = labels_of(store, cell.id, family)
    total = family[0]["total"]
    left_out = "" if total == len(family) else f", {len(family)} of them here"
    st.subheader("Parent and siblings")
    note(
        f"Parent: original unit {parent}. Its {total} sub-unit{'' if total == 1 else 's'}{left_out}, best first. "
        "Gain: MS minus chance, compared with the parent's."
    )
    if original is None:
        note('The control "backbone only" is not in this store, so the parent\'s images are unavailable.')
    with st.container(horizontal=True, gap="small"):
        if original is not None:
            label = labels_of(store, cell.reference or "", [original]).get(parent)
            _member(cell.reference or "", gallery, original, f"Original unit {parent}", label, {})
        for member in family:
            this = " (this one)" if member["unit"] == unit["unit"] else ""
            title, label = f"Sub-unit {member['unit']}{this}", labels.get(member["unit"])
            _member(cell.id, gallery, member, title, label, address, _gain(member, original))


def show_near(store: Store, cell: Cell, gallery: Gallery, unit: Record, address: Mapping[str, object]) -> None:
    """Show the units of the cell that share most top images with a unit."""
    near = queries_units.near_units(store, cell.id, unit["unit"])
    st.subheader("Nearest units")
    if not near:
        note(f"No other unit shares one of its {NEAR_TOP} strongest images.")
        return
    n_images = min(NEAR_TOP, len(listed(unit["top_image"])))
    note(
        f"Units of this cell that share most of its {n_images} strongest images: unit {near[0]['unit']} shares "
        f"{near[0]['shared']}."
    )
    gallery.prepare(store, near)
    gallery.prepare_maps(store, cell.id, near)
    notes = {row["unit"]: f"{row['shared']} of {n_images} images shared" for row in near}
    labels = labels_of(store, cell.id, near)
    concepts = concept_labels(store, cell.id, near)
    tile_grid(gallery, cell.id, near, labels, concepts, n_images=cell.n_images, address=address, notes=notes)


def show_judged(store: Store, cell: Cell, unit: int) -> None:
    """Show the comparisons in which judges saw a unit; nothing if there are none."""
    rows = queries_judging.unit_comparisons(store, cell.id, unit)
    if not rows:
        return
    outcomes = [_outcome(row) for row in rows]
    st.subheader("Judged comparisons")
    words = [f"{name} {outcomes.count(name)}" for name in ("won", "lost", "undecided") if name in outcomes]
    note(f"{len(rows)} presentations to the judges: {', '.join(words)}.")
    others = ["ab"[row["side"] == "A"] for row in rows]
    rivals = [(row[f"cell_{side}"], row[f"unit_{side}"]) for row, side in zip(rows, others, strict=True)]
    titles = {record["cell_id"]: record["label"] for record in queries.cells(store, [cell_id for cell_id, _ in rivals])}
    for row, (cell_id, number), outcome in list(zip(rows, rivals, outcomes, strict=True))[:8]:
        rival = f"{visible(titles.get(cell_id, 'a cell that is not in the store'))}, unit {number}"
        votes = (row["n_a"], row["n_b"]) if row["side"] == "A" else (row["n_b"], row["n_a"])
        label = f"{outcome} {votes[0]} : {votes[1]} against {rival}, shown as {row['side']}"
        address = {"tournament": row["tournament"], "pair": row["pair_id"], "order": row["order"]}
        navigation.link("judges", plain(label), **address)


def _member(
    cell_id: str,
    gallery: Gallery,
    unit: Record,
    title: str,
    label: str | None,
    address: Mapping[str, object],
    gain: float | None = None,
) -> None:
    with st.container(width=3 * (_FAMILY_PX + 3) + 34, border=True, gap="xsmall"):
        navigation.link("units", title, icon="", **{**address, "cell": cell_id, "unit": unit["unit"]})
        words = [f"**{plain(label)}**"] if label else []
        words += [":violet-badge[CLS unit]"] if is_prefix_unit(unit) else []
        words += [] if unit["alive"] else [":gray-badge[dead]"]
        st.markdown(" ".join(words) or "no class")
        gallery.show(unit, title.lower(), tile_px=_FAMILY_PX, columns=3, cell_id=cell_id)
        more = "" if gain is None else with_minus(f" · gain {gain:+.2f}")
        note(score_text(unit) + more)


def _gain(member: Record, original: Record | None) -> float | None:
    """Return the gain in MS minus chance, or in MS without a chance level: a unit at CLS has a higher one of both."""
    scores = [math.nan if unit is None or unit["ms_score"] is None else unit["ms_score"] for unit in (member, original)]
    levels = [None if unit is None else chance_of(unit) for unit in (member, original)]
    gain = scores[0] - scores[1]
    if levels[0] is not None and levels[1] is not None:
        gain -= levels[0] - levels[1]
    return gain if math.isfinite(gain) else None


def _outcome(row: Record) -> str:
    if row["consensus"] is None:
        return "undecided"
    return "won" if row["consensus"] == row["side"] else "lost"
