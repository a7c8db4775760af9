"""Effect of a steering on the page: probabilities before and after, patches that were changed, and the units."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from results.app import chart, tables
from results.app.figures.steering import steering_figure
from results.app.gallery import Gallery
from results.app.queries_steering import units_by_number
from results.app.steering.finding import caution, steering_finding
from results.app.steering.images import picture
from results.app.titles import number, plain, visible
from results.app.units.concept_labels import concept_labels
from results.app.units.labels import labels_of
from results.app.units.listing import Cell
from results.app.units.notes import note
from results.app.units.tiles import tile_grid
from results.minus_sign import with_minus
from results.pictures.tiles import PictureTile
from results.store import Store
from results.visible_text import names_text

_CLASSES, _TILES, _MOST_ROWS = 7, 4, 500
_OVERLAY_PX, _OVERLAY_OPACITY = 150, 0.6


def show_effect(answer: Mapping[str, Any], image: str, gallery: Gallery) -> None:
    """Show the probabilities of the classes before and after, and where the image was changed."""
    classes = most_changed(answer["classes"], _CLASSES)
    finding = steering_finding(classes)
    st.subheader(plain(finding), anchor=False)
    of_image = answer["images"][0]
    if warning := caution(classes, of_image["divergence"], of_image["control_divergence"]):
        st.warning(warning)
    if classes:
        chart.show(steering_figure(classes), "steering", f"Probabilities before and after steering. {finding}.")
    touched, side = of_image["touched"], int(answer["grid"])
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        if touched and side:
            where = f"{len(touched)} of {side * side} patches were changed"
            tile = PictureTile(image, 0, True, overlay(touched, side))
            st.image(
                picture(gallery, tile, _OVERLAY_PX, _OVERLAY_OPACITY),
                width=_OVERLAY_PX,
                alt=f"Patches of {visible(image)} that were changed: {len(touched)} of {side * side}.",
            )
        else:
            where = "No patch was changed: the units are silent on this image" if side else "The layer has no patches"
        with st.container(width="stretch"):
            st.markdown(f"**{where}.**")
            note(
                ("Yellow: where most units were changed; violet: where few were. " if touched and side else "")
                + f"Change of all predictions, KL(before ‖ after): {_nats(of_image['divergence'])}; with as many "
                f"random units and a change of equal size: {_nats(of_image['control_divergence'])}."
            )


def show_steered_units(store: Store, cell: Cell, answer: Mapping[str, Any], gallery: Gallery) -> None:
    """Show the units that were changed, the most similar labels with their images first."""
    units = sorted(answer["units"], key=lambda unit: (-unit["similarity"], unit["unit"]))
    st.subheader(f"{len(units):,} unit{'' if len(units) == 1 else 's'} changed", anchor=False)
    note(
        "Units whose label matches a concept, the most similar labels of each concept first. Matched by "
        f"{answer['matcher']}."
    )
    rows = units_by_number(store, cell.id, first_of_each(units, _TILES))
    gallery.prepare(store, rows)
    gallery.prepare_maps(store, cell.id, rows)
    notes = {unit["unit"]: f"“{names_text([unit['concept']])}”: {factor_text(unit['factor'])}" for unit in units}
    labels, concepts = labels_of(store, cell.id, rows), concept_labels(store, cell.id, rows)
    tile_grid(gallery, cell.id, rows, labels, concepts, n_images=cell.n_images, address={}, notes=notes)
    first = units[:_MOST_ROWS]
    left_out = f", the first {_MOST_ROWS} of them" if len(units) > len(first) else ""
    with st.expander(f"All units in a table{left_out}"):
        tables.show(
            {
                "unit": [f"units?{urlencode({'cell': cell.id, 'unit': unit['unit']})}" for unit in first],
                "label": [names_text([unit["label"]]) for unit in first],
                "concept": [names_text([unit["concept"]]) for unit in first],
                "similarity": [round(float(unit["similarity"]), 3) for unit in first],
                "factor": [factor_text(unit["factor"]) for unit in first],
            },
            "Units that were changed, with label, concept, similarity and factor.",
            column_config={"unit": st.column_config.LinkColumn(display_text=r"unit=(\d+)")},
        )


def first_of_each(units: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """Return the first units of each concept in turns, at most `most`."""
    by_concept: dict[str, list[int]] = {}
    for unit in units:
        by_concept.setdefault(unit["concept"], []).append(int(unit["unit"]))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_concept.values()))
    return [unit for unit in turns if unit is not None][:most]


def most_changed(classes: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return the classes whose probability changes most, those that rise before those that fall."""
    complete = [each for each in classes if None not in (each["before"], each["after"], each["control"])]
    chosen = sorted(complete, key=lambda each: -abs(each["after"] - each["before"]))[:most]
    return sorted(chosen, key=lambda each: each["before"] - each["after"])


def overlay(touched: Sequence[Sequence[int]], side: int) -> bytes:
    """Return the numbers of changed units as levels of a heat map over a grid of patches, row by row.

    Args:
        touched: (position in the grid, number of units).
        side: patches along one side.
    """
    most = max(count for _, count in touched)
    levels = bytearray(side * side)
    for position, count in touched:
        if 0 <= position < side * side:
            # One unit is seen beside fifty.
            levels[position] = round(80 + 175 * count / most)
    return bytes(levels)


def factor_text(factor: float) -> str:
    """Return the factor of a unit's activation, as "× 5"."""
    return with_minus(f"× {factor:g}")


def _nats(value: float | None) -> str:
    return "undefined" if value is None else f"{number(value, 3)} nats"
