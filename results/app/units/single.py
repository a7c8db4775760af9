"""One unit: what it responds to, how sure that is, and the units around it."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from results.app import chart, data, navigation, queries, queries_units
from results.app.figures.classes import class_figure
from results.app.figures.peaks import peaks_figure
from results.app.gallery import Gallery, listed
from results.app.pictures import embedded, strip
from results.app.queries import Record
from results.app.queries_units import UnitList
from results.app.steering.choices import concepts_of
from results.app.steering.client import worker
from results.app.titles import plain, visible
from results.app.units import facts, favourites
from results.app.units.around import show_family, show_judged, show_near
from results.app.units.concept_labels import MEANING as LABEL_MEANING
from results.app.units.concept_labels import RANKS, ConceptLabel, concept_labels, label_sentences
from results.app.units.concepts import MEANING, concept_sentences
from results.app.units.labels import labels_of
from results.app.units.listing import Cell, address_of, listed_units
from results.app.units.notes import note
from results.errors import StoreError
from results.pictures.heat_map import heat_map
from results.pictures.tiles import OPACITY, Overlay, PictureTile
from results.store import Store
from results.store.class_labels import TOP
from results.visible_text import names_text

_GRID_PX = 200
_MAP_PX = 130
_ENLARGED_PX = 540
#: Pixels of a drawn image per pixel of the page: screens with a high resolution, and enlarged images.
_SHARP = 2
#: Number of the unit that the page shows, or that a step has asked for.
_ON_PAGE = "unit on the page"
_MS = (
    "MS score: mean cosine between the unit's strongest images of the layer's output at the token where the unit is "
    "strongest, weighted by activation (1: equal). Chance: the same for random images at the same kind of token (CLS "
    "or patch)."
)
_OVERLAYS: Mapping[str, Overlay] = {"Heat map": "heat map", "Outline": "frame", "Plain": "plain"}


def remember(asked: str) -> None:
    """Remember the unit that the address asks for, from which the next step starts, before anything of it is shown."""
    with contextlib.suppress(ValueError):
        st.session_state[_ON_PAGE] = int(asked)


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
    concept_names = concept_labels(store, cell.id, [unit], most=RANKS).get(number, [])
    for text in label_sentences(concept_names):
        st.markdown(text, help=LABEL_MEANING)
    _steer_link(cell, concept_names)
    for sentence in concept_sentences(store, cell.id, number):
        st.markdown(plain(sentence), help=MEANING)
    # Side by side on a wide page, one below the other on a narrow one.
    with st.container(horizontal=True, gap="medium"):
        if unit["alive"]:
            with st.container(width=3 * _GRID_PX + 2 * 8):
                _pictures(gallery, cell, unit)
        with st.container(width="stretch", key="unit_facts", gap="small"):
            _classes(store, gallery, cell, unit)
            _where(gallery, cell, unit)
            _activation(gallery, cell, unit)
            _numbers(unit)
    if cell.is_split and unit["parent"] is not None:
        show_family(store, cell, gallery, unit, address_of(units))
    if unit["alive"]:
        show_near(store, cell, gallery, unit, address_of(units))
    show_judged(store, cell, number)


def _steps(store: Store, cell: Cell, units: UnitList, number: int) -> None:
    """Show the way back, and to the units before and after in the list that the reader came from."""
    position = queries_units.unit_place(store, units, number)
    if position is None:
        # Not in the list, for example a dead unit: the steps go by number.
        units = units._replace(sort="number", filters=(), search="", concept="")
        position = queries_units.unit_place(store, units, number) or {"before": None, "after": None}
        words = f"{cell.summary['n']:,} units by number"
    else:
        words = f"{position['place']:,} of {position['total']:,} by {units.sort}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        navigation.link("units", "← all units", icon="", cell=cell.id, **address_of(listed_units(cell)))
        for name, shortcut, neighbour in (("Previous", "Left", "before"), ("Next", "Right", "after")):
            st.button(
                name,
                key=f"unit {name}",
                shortcut=shortcut,
                disabled=position[neighbour] is None,
                on_click=_step,
                args=(units, neighbour),
            )
        favourites.star(cell.id, number)
        note(words, width="content")


def _step(units: UnitList, neighbour: str) -> None:
    """Open the unit before or after the one on the page.

    A key may be pressed again before the page of the last press is complete, so that the buttons are still those of the
    unit before: the step starts from the unit that was asked for last.
    """
    number = st.session_state[_ON_PAGE]
    with data.page() as store:
        target = (queries_units.unit_place(store, units, number) or {}).get(neighbour)
    if target is not None:
        st.session_state[_ON_PAGE] = target
        st.query_params["unit"] = str(target)


def _steer_link(cell: Cell, labels: Sequence[ConceptLabel]) -> None:
    """Show a link that amplifies the first label above its null, if this app can steer."""
    best = next((label for label in labels if label.is_above_null), None)
    # The form has commas between concepts: the first of a label's names.
    if worker() is not None and best is not None and (names := concepts_of(best.label)):
        words = f"Steer units of “{names_text(names[:1])}”"
        navigation.link("steer", plain(words), cell=cell.id, scorer=best.scorer, amplify=names[0])


def _sentences(unit: Record) -> None:
    st.markdown(plain(facts.score_sentence(unit)), help=_MS)
    positions = listed(unit["top_position"])
    on_prefix = sum(position < 0 for position in positions)
    if facts.is_prefix_unit(unit) and unit["alive"]:
        st.markdown(
            f":violet-badge[CLS unit] It responds to the image as a whole: {on_prefix} of {len(positions)} maxima are "
            "at the CLS token or a register, which have no position in the image. No heat map is drawn for them."
        )
    elif on_prefix and unit["alive"]:
        note(f"{on_prefix} of {len(positions)} maxima are at CLS or a register, without a position in the image.")


def _numbers(unit: Record) -> None:
    """Show further numbers of a unit with their meaning, folded."""
    rows = {
        "active tokens": ("fires", ",.0f", "tokens of the evaluation images on which it is active"),
        "largest activation": ("max_activation", ".3g", "on any token of the evaluation images"),
        "chance, own images": ("ms_score_null", ".2f", "MS score of random images among those on which it is active"),
        "unit overlap": ("redundancy", ".2f", "largest share of its 16 strongest images in common with another unit"),
        "polysemanticity": ("polysemanticity", ".3f", "spread of its strongest images; less is better"),
    }
    lines = [
        f"- **{name}** {format(unit[key], digits)}: {meaning}\n"
        for name, (key, digits, meaning) in rows.items()
        if unit.get(key) is not None and math.isfinite(unit[key])
    ]
    if lines:
        with st.expander("More numbers"):
            st.markdown("".join(lines) + "- The address of this page is a permalink.")


def _pictures(gallery: Gallery, cell: Cell, unit: Record) -> None:
    tiles, classes = gallery.tiles(unit, TOP, cell.id)
    if not tiles:
        st.text("No top images are stored for this unit.")
        return
    overlay: Overlay = "heat map"
    opacity = OPACITY
    # Without a position there is nothing to lay over the image.
    if any(tile.active and (tile.position is None or tile.position >= 0) for tile in tiles):
        overlay, opacity = _overlay(any(tile.activation for tile in tiles))
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
            opacity=opacity,
        )

    alts = [
        f"{_rank(rank)} strongest image of unit {unit['unit']}: {visible(name)}, activation {value:.3g}"
        for rank, (name, value) in enumerate(zip(classes, listed(unit["top_value"]) or [math.nan] * TOP, strict=False))
    ]
    chosen = None
    with st.container(horizontal=True, gap="xsmall"):
        for number, (tile, alt) in enumerate(zip(tiles, alts, strict=False), start=1):
            # Its button lies over the picture, unseen (results/app/shell.py).
            with st.container(width=_GRID_PX, key=f"unit_image_{number}"):
                # Wider than the container, so that it stays sharp; streamlit would shrink it to a given width.
                st.image(embedded(drawn(tile, _SHARP * _GRID_PX)), width="stretch", alt=alt)
                if st.button(f"Enlarge image {number}", key=f"enlarge {number}"):
                    chosen = number - 1
    note("Click on an image to enlarge it.")

    @st.dialog(f"Unit {unit['unit']}, image {(chosen or 0) + 1}", width=_ENLARGED_PX + 2 * 24)
    def enlarged(rank: int) -> None:
        picture = drawn(tiles[rank], _ENLARGED_PX)
        st.image(embedded(picture), width=_ENLARGED_PX, alt=f"{alts[rank]}, enlarged")
        note(alts[rank] + ".")

    if chosen is not None:
        enlarged(chosen)


def _overlay(has_maps: bool) -> tuple[Overlay, float]:
    """Let the reader choose what is drawn over the images, a heat map only if there is one."""
    names = list(_OVERLAYS) if has_maps else [name for name in _OVERLAYS if name != "Heat map"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.segmented_control(
            "Over the images", names, default=names[0], required=True, key=f"overlay of {len(names)}"
        )
        overlay = _OVERLAYS[name or names[0]]
        if not has_maps:
            return overlay, OPACITY
        percent = st.slider(
            "Opacity of the heat map (%)", 10, 100, 80, 10, key="opacity", disabled=overlay != "heat map", width=220
        )
    return overlay, percent / 100


def _rank(rank: int) -> str:
    return {0: "The", 1: "2nd", 2: "3rd"}.get(rank, f"{rank + 1}th")


def _activation(gallery: Gallery, cell: Cell, unit: Record) -> None:
    stored = gallery.maps.get((cell.id, unit["unit"]))
    finding = facts.peak_finding(stored.peaks, unit["max_activation"], cell.n_images) if stored else None
    if stored is None or finding is None:
        if unit["alive"]:
            _fact(
                "On how many images?",
                "Not stored for this unit: a run keeps histograms and heat maps for a part of the units of each cell.",
            )
        return
    counts = [int(count) for count in stored.peaks]
    while len(counts) > 1 and not counts[-1]:
        counts.pop()
    _fact("On how many images?", f"{finding}.")
    figure = peaks_figure(counts[::-1], facts.edges(len(counts), unit["max_activation"]), f"Unit {unit['unit']}")
    chart.show(figure, "peaks", f"Histogram of the images by the maximum activation. {finding}.")


def _where(gallery: Gallery, cell: Cell, unit: Record) -> None:
    stored = gallery.maps.get((cell.id, unit["unit"]))
    mean = facts.mean_map(stored.maps, listed(unit["top_position"])) if stored else None
    if mean is None or not (finding := facts.place_finding(mean)):
        return
    level = np.round(255 * mean / mean.max()).astype(np.uint8)
    picture = io.BytesIO()
    heat_map(Image.new("RGB", (_MAP_PX, _MAP_PX), (60, 9, 101)), level, opacity=1.0).save(picture, "PNG")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        # Embedded: a file of its own is gone if the next unit is opened before the browser asks for it.
        st.image(
            embedded(picture.getvalue(), "png"),
            alt=f"Mean activation over the grid of patches. {finding}.",
            width=_MAP_PX,
        )
        with st.container():
            _fact("Where in the image?", f"{finding}. The picture is the mean of its heat maps.")


def _classes(store: Store, gallery: Gallery, cell: Cell, unit: Record) -> None:
    images, values = listed(unit["top_image"]), listed(unit["top_value"])
    active = [image for image, value in zip(images, values or [1.0] * len(images), strict=False) if value > 0]
    classes = [gallery.names.get(image, (None, ""))[1] for image in active]
    set_counts = queries_units.class_counts(store, cell.record["evaluation_fingerprint"])
    figure = class_figure(classes, set_counts)
    if figure is None:
        return
    finding = facts.class_finding(classes, set_counts, unit.get("class_purity_chance"))
    _fact("What is on the images?", finding)
    chart.show(figure, "classes", f"Classes of the top images. {finding}")


def _fact(question: str, answer: str) -> None:
    st.markdown(f"**{plain(question)}** {plain(answer)}")
