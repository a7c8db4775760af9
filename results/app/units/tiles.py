"""Tile of a unit: its number, label and score, its strongest images, and how its activation is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from results.app import navigation
from results.app.gallery import Gallery
from results.app.pictures import embedded
from results.app.queries import Record
from results.app.titles import plain
from results.app.units import favourites
from results.app.units.concept_labels import ConceptLabel, label_line
from results.app.units.facts import chance_of, is_prefix_unit, peak_finding
from results.app.units.notes import note
from results.app.units.spark import spark
from results.minus_sign import with_minus

#: Width of a tile, and of one of its images.
TILE_PX, IMAGE_PX = 288, 126
N_IMAGES = 4


def tile_grid(
    gallery: Gallery,
    cell_id: str,
    units: Sequence[Record],
    labels: Mapping[int, str],
    concepts: Mapping[int, Sequence[ConceptLabel]],
    *,
    n_images: int,
    address: Mapping[str, object],
    notes: Mapping[int, str] | None = None,
) -> None:
    """Show units as tiles, as many per row as fit.

    Args:
        gallery: prepared for the units.
        cell_id: of the units.
        units: rows of the store.
        labels: unit -> its label by the classes of its images.
        concepts: unit -> its best label by each scorer.
        n_images: images of the whole set.
        address: parameters of the links, besides cell and unit.
        notes: unit -> short text at the end of its tile.
    """
    gallery.decode_ahead(units, IMAGE_PX, N_IMAGES)
    # A store from anyone can have one unit many times; its star can be there only once.
    distinct_units = {unit["unit"]: unit for unit in units}
    with st.container(horizontal=True, gap="small"):
        for unit in distinct_units.values():
            with st.container(border=True, width=TILE_PX, gap="xsmall"):
                number = unit["unit"]
                _tile(gallery, cell_id, unit, labels.get(number), concepts.get(number, ()), n_images, address)
                if text := (notes or {}).get(unit["unit"]):
                    note(text)


def _tile(
    gallery: Gallery,
    cell_id: str,
    unit: Record,
    label: str | None,
    concepts: Sequence[ConceptLabel],
    n_images: int,
    address: Mapping[str, object],
) -> None:
    number = unit["unit"]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        navigation.link("units", f"**Unit {number}**", icon="", **{**address, "cell": cell_id, "unit": number})
        favourites.star(cell_id, number)
    words = [f"**{plain(label)}**"] if label else []
    if is_prefix_unit(unit):
        words.append(":violet-badge[CLS unit]")
    if not unit["alive"]:
        words.append(":gray-badge[dead]")
    if words:
        st.markdown(" ".join(words))
    note(score_text(unit))
    if concepts:
        # Lines of one element: the gap between elements is wide.
        st.markdown("  \n".join(map(label_line, concepts)))
    gallery.show(
        unit,
        f"unit {number}" + (f", {label}" if label else ""),
        tile_px=IMAGE_PX,
        columns=2,
        count=N_IMAGES,
        cell_id=cell_id,
        stretch=True,
    )
    stored = gallery.maps.get((cell_id, number))
    finding = peak_finding(stored.peaks, unit["max_activation"], n_images) if stored else None
    if stored is not None and finding:
        st.image(
            embedded(spark(stored.peaks), "png"),
            alt=f"Histogram of the images by the maximum activation of unit {number}. {finding}.",
            width="stretch",
        )


def score_text(unit: Record) -> str:
    """Return the MS score of a unit with its chance level, in few characters."""
    score, chance = unit["ms_score"], chance_of(unit)
    if not unit["alive"]:
        return "no MS score"
    if score is None or score != score:
        return "MS score undefined"
    return with_minus(f"MS {score:.2f}" + ("" if chance is None else f" · chance {chance:.2f}"))
