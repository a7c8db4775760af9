"""One unit: what it responds to, how sure that is, and the units around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from results.app import chart, navigation, queries, queries_units
from results.app.figures.classes import class_figure
from results.app.figures.peaks import peaks_figure
from results.app.gallery import Gallery, listed
from results.app.pictures import Overlay, PictureTile, embedded, strip
from results.app.queries import Record
from results.app.queries_units import TOP, UnitList
from results.app.titles import plain, visible
from results.app.units import facts, favourites
from results.app.units.around import show_family, show_judged, show_near
from results.app.units.labels import labels_of
from results.app.units.listing import Cell, address_of, listed_units
from results.app.units.notes import note
from results.errors import StoreError
from results.pictures.heat_map import heat_map
from results.store import Store

_GRID_PX = 200
_FACTS_PX = 440
#: Pixels of a drawn image per pixel of the page: screens with a high resolution, and enlarged images.
_SHARP = 2
_OVERLAYS: Mapping[str, Overlay] = {"Heat map": "heat map", "Outline": "frame", "Plain": "plain"}


def show_unit(store: Store, cell: Cell, gallery: Gallery, asked: str, heading: Any) -> None:
    """Show the unit that the address asks for, with its name in the container `heading`."""
    units = listed_units(cell)
    try:
        unit = queries.unit_by_number(store, cell.id, int(asked))
    except (ValueError, StoreError):
        unit = None
    if unit is None:
        heading.title("Units")
        navigation.link("units", "← all units", icon="", cell=cell.id, **address_of(units))
        st.warning(f"This cell has no unit {plain(asked)}.")
        return
    number = unit["unit"]
    _steps(store, cell, units, number)
    gallery.prepare(store, [unit])
    gallery.prepare_maps(store, cell.id, [unit])
    label = labels_of(store, cell.id, [unit]).get(number)
    heading.title(f"Unit {number}" + (f" · {plain(label)}" if label else ""))
    _sentences(unit)
    # Side by side on a wide page, one below the other on a narrow one.
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=3 * _GRID_PX + 2 * 8):
            _pictures(gallery, cell, unit)
        with st.container(width=_FACTS_PX):
            _activation(gallery, cell, unit)
            _where(gallery, cell, unit)
            _classes(store, gallery, cell, unit)
    if cell.is_split and unit["parent"] is not None:
        show_family(store, cell, gallery, unit, address_of(units))
    show_near(store, cell, gallery, unit, address_of(units))
    show_judged(store, cell, number)


def _steps(store: Store, cell: Cell, units: UnitList, number: int) -> None:
    """Show the way back, and to the units before and after in the list that the reader came from."""
    position = queries_units.unit_place(store, units, number)
    if position is None:
        # Not in the list, for example a dead unit: the steps go by number.
        units = units._replace(sort="number", filters=(), search="")
        position = queries_units.unit_place(store, units, number) or {"before": None, "after": None}
        words = f"{cell.summary['n']} units by number"
    else:
        words = f"{position['place']} of {position['total']}, {units.sort}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        navigation.link("units", "← all units", icon="", cell=cell.id, **address_of(listed_units(cell)))
        for name, shortcut, target in (("Previous", "Left", position["before"]), ("Next", "Right", position["after"])):
            st.button(
                name,
                key=f"unit {name}",
                shortcut=shortcut,
                disabled=target is None,
                on_click=_open,
                args=(target,),
            )
        favourites.star(cell.id, number)
        note(words, width="content")


def _open(unit: int | None) -> None:
    st.query_params["unit"] = str(unit)


def _sentences(unit: Record) -> None:
    st.markdown(plain(facts.score_sentence(unit)))
    positions = listed(unit["top_position"])
    on_prefix = sum(position < 0 for position in positions)
    if facts.is_prefix_unit(unit):
        st.info(
            f"CLS unit: {on_prefix} of {len(positions)} maxima are at the CLS token or a register, which have no "
            "position in the image. A heat map over the patches would not show where it is maximal, so none is drawn "
            "for these images. It responds to the image as a whole.",
            icon=":material/crop_free:",
        )
    words = []
    if not unit["alive"]:
        words.append("dead: it is active on no evaluation image")
    elif on_prefix and not facts.is_prefix_unit(unit):
        words.append(f"{on_prefix} of {len(positions)} maxima at CLS or a register")
    if unit["fires"] is not None:
        words.append(f"active on {unit['fires']:,} tokens of the evaluation images")
    if unit["max_activation"] is not None:
        words.append(f"largest activation {unit['max_activation']:.4g}")
    for key, name in (("redundancy", "unit overlap"), ("class_purity", "class purity")):
        if unit.get(key) is not None and math.isfinite(unit[key]):
            words.append(f"{name} {unit[key]:.2f}")
    if words:
        text = "; ".join(words)
        note(f"{text[0].upper()}{text[1:]}. The address of this page is a permalink.")


def _pictures(gallery: Gallery, cell: Cell, unit: Record) -> None:
    tiles, classes = gallery.tiles(unit, TOP, cell.id)
    if not tiles:
        st.text("No top images are stored for this unit.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.segmented_control(
            "Over the images", list(_OVERLAYS), default="Heat map", required=True, key="overlay"
        )
        overlay = _OVERLAYS[name or "Heat map"]
        percent = st.slider(
            "Opacity of the heat map (%)", 10, 100, 80, 10, key="opacity", disabled=overlay != "heat map", width=220
        )
    gallery.note(tiles, overlay)
    gallery.decode_ahead([unit], _SHARP * _GRID_PX, TOP)

    def drawn(tile: PictureTile, px: int) -> bytes:
        return strip(
            [tile],
            gallery.image_folders,
            gallery.seen,
            tile_px=px,
            columns=1,
            overlay=overlay,
            opacity=percent / 100,
        )

    pictures = [drawn(tile, _SHARP * _GRID_PX) for tile in tiles]
    alts = [
        f"{_rank(rank)} strongest image of unit {unit['unit']}: {visible(name)}, activation {value:.3g}"
        for rank, (name, value) in enumerate(zip(classes, listed(unit["top_value"]) or [math.nan] * TOP, strict=False))
    ]
    with st.container(horizontal=True, gap="xsmall"):
        for picture, alt in zip(pictures, alts, strict=False):
            # Wider than the container, so that it stays sharp; streamlit would shrink it to a given width.
            with st.container(width=_GRID_PX):
                st.image(embedded(picture), width="stretch", alt=alt)
    key = f"enlarge {cell.id} {unit['unit']}"
    chosen = st.pills(
        "Enlarge image",
        list(range(1, len(tiles) + 1)),
        key=key,
        help="The images are numbered row by row, strongest first.",
    )

    @st.dialog(f"Unit {unit['unit']}, image {chosen}", width="large", on_dismiss=lambda: _close(key))
    def enlarged(chosen: int) -> None:
        st.image(embedded(drawn(tiles[chosen - 1], 640)), width=640, alt=f"{alts[chosen - 1]}, enlarged")
        note(alts[chosen - 1] + ".")

    if chosen:
        enlarged(chosen)


def _close(key: str) -> None:
    st.session_state[key] = None


def _rank(rank: int) -> str:
    return {0: "The", 1: "2nd", 2: "3rd"}.get(rank, f"{rank + 1}th")


def _activation(gallery: Gallery, cell: Cell, unit: Record) -> None:
    stored = gallery.maps.get((cell.id, unit["unit"]))
    st.markdown("**How selective is it?**")
    finding = facts.peak_finding(stored.peaks, unit["max_activation"], cell.n_images) if stored else None
    if stored is None or finding is None:
        note("No histogram is stored for this unit: a run keeps them for a part of the units of each cell.")
        return
    counts = [int(count) for count in stored.peaks]
    while len(counts) > 1 and not counts[-1]:
        counts.pop()
    note(finding + ".")
    figure = peaks_figure(counts[::-1], facts.edges(len(counts), unit["max_activation"]), f"Unit {unit['unit']}")
    chart.show(figure, "peaks", f"Histogram of the images by the maximum activation. {finding}.")


def _where(gallery: Gallery, cell: Cell, unit: Record) -> None:
    stored = gallery.maps.get((cell.id, unit["unit"]))
    mean = facts.mean_map(stored.maps, listed(unit["top_position"])) if stored else None
    if mean is None or not (finding := facts.place_finding(mean)):
        return
    st.markdown("**Where in the image?**")
    note(f"{finding}. Mean of its maps.")
    level = np.round(255 * mean / mean.max()).astype(np.uint8)
    picture = heat_map(Image.new("RGB", (180, 180), (60, 9, 101)), level, opacity=1.0)
    st.image(picture, alt=f"Mean activation over the grid of patches. {finding}.", width=180)


def _classes(store: Store, gallery: Gallery, cell: Cell, unit: Record) -> None:
    images, values = listed(unit["top_image"]), listed(unit["top_value"])
    active = [image for image, value in zip(images, values or [1.0] * len(images), strict=False) if value > 0]
    classes = [gallery.names.get(image, (None, ""))[1] for image in active]
    set_counts = queries_units.class_counts(store, cell.record["evaluation_fingerprint"])
    figure = class_figure(classes, set_counts)
    if figure is None:
        return
    commonest = max(sorted(set(classes) - {""}), key=classes.count)
    share, base = classes.count(commonest) / len(classes), set_counts.get(commonest, 0) / sum(set_counts.values())
    finding = (
        f"{classes.count(commonest)} of {len(classes)} top images are {visible(commonest)} ({100 * share:.0f} %), "
        f"which is {100 * base:.0f} % of all images"
    )
    st.markdown("**Which classes?**")
    note(finding + ".")
    chart.show(figure, "classes", f"Classes of the top images. {finding}.")
