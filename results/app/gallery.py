"""Top images of a unit on the page: rows of the store as one picture, with a description for screen readers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from results.app import data
from results.app.pictures import decode_ahead, embedded, strip
from results.app.titles import plain, visible
from results.pictures.image_files import find, folders
from results.pictures.tiles import OPACITY, Overlay, PictureTile, Seen, seen_of
from results.store import Store
from results.store.images import image_names, last_position
from results.store.unit_maps import UnitMaps, unit_maps


@dataclasses.dataclass
class Gallery:
    """Gallery of units of the cells of one board.

    Attributes:
        fingerprint: of the images, as in the store.
        image_folders: searched for the files, in this order.
        seen: part of each image that the network saw.
        names: image index -> (file name, class), filled by `prepare` with one query for all units of a page.
        maps: (cell id, unit) -> its activation maps, filled by `prepare_maps`.
        missing: names of the files that were needed and not found.
        n_drawn: overlay -> number of images drawn with it, for the explanation below them.
    """

    fingerprint: str | None
    image_folders: Sequence[Path]
    seen: Seen
    names: dict[int, tuple[str | None, str]] = dataclasses.field(default_factory=dict)
    maps: dict[tuple[str, int], UnitMaps] = dataclasses.field(default_factory=dict)
    missing: set[str] = dataclasses.field(default_factory=set)
    n_drawn: Counter[str] = dataclasses.field(default_factory=Counter)

    def prepare(self, store: Store, units: Iterable[Mapping[str, Any] | None]) -> None:
        """Look up the images of units with one query; None is a missing unit."""
        wanted = {index for unit in units if unit for index in listed(unit["top_image"])} - set(self.names)
        if wanted:
            self.names |= image_names(store, self.fingerprint, sorted(wanted))

    def prepare_maps(self, store: Store, cell_id: str, units: Iterable[Mapping[str, Any] | None]) -> None:
        """Look up the activation maps of units of a cell with one query; `show` draws those of the same `cell_id`."""
        numbers = [int(unit["unit"]) for unit in units if unit]
        self.maps |= {(cell_id, unit): maps for unit, maps in unit_maps(store, cell_id, numbers).items()}

    def decode_ahead(self, units: Iterable[Mapping[str, Any]], px: int, count: int = 9) -> None:
        """Decode the top images of units at once, before `show` draws them one unit after another."""
        images = {image for unit in units for image in listed(unit["top_image"])[:count]}
        decode_ahead([self.names.get(image, (None, ""))[0] for image in images], self.image_folders, self.seen, px)

    def show(
        self,
        unit: Mapping[str, Any],
        what: str,
        *,
        tile_px: int,
        columns: int,
        count: int = 9,
        cell_id: str | None = None,
        overlay: Overlay = "heat map",
        opacity: float = OPACITY,
        stretch: bool = False,
    ) -> None:
        """Show the top `count` images of a unit, a row of the store, strongest first, in rows of `columns`.

        Args:
            unit: row of the store.
            what: name of the unit for screen readers.
            tile_px: side of one image.
            columns: images per row.
            count: images at most.
            cell_id: of the unit; needed for heat maps, which `prepare_maps` has looked up.
            overlay: drawing over the images; images without a stored map have a frame instead of a heat map.
            opacity: of the heat map.
            stretch: as wide as the container instead of `tile_px` per image.
        """
        tiles, classes = self.tiles(unit, count, cell_id)
        if not tiles:
            st.text("No top images are stored for this unit.")
            return
        self.note(tiles, overlay)
        picture = strip(
            tiles,
            self.image_folders,
            self.seen,
            tile_px=tile_px,
            columns=columns,
            overlay=overlay,
            opacity=opacity,
        )
        described = f"Top images of {visible(what)}: " + ", ".join(visible(name) for name in classes)
        st.image(embedded(picture), alt=described, width="stretch" if stretch else columns * (tile_px + 3) - 3)

    def tiles(
        self, unit: Mapping[str, Any], count: int, cell_id: str | None = None
    ) -> tuple[list[PictureTile], list[str]]:
        """Return the top images of a unit and the name of each, strongest first."""
        images = listed(unit["top_image"])[:count]
        positions = listed(unit["top_position"]) or [None] * len(images)
        values = listed(unit["top_value"]) or [1.0] * len(images)
        stored = self.maps.get((cell_id, int(unit["unit"]))) if cell_id is not None else None
        maps = [map_.tobytes() for map_ in stored.maps] if stored else []
        tiles, classes = [], []
        for rank, (index, position, value) in enumerate(zip(images, positions, values, strict=False)):
            name, class_name = self.names.get(index, (None, ""))
            tiles.append(PictureTile(name, position, value > 0, maps[rank] if rank < len(maps) else None))
            classes.append(class_name or name or f"image {index}")
        return tiles, classes

    def note(self, tiles: Sequence[PictureTile], overlay: Overlay) -> None:
        """Count missing files and overlays of images that are drawn, for `explain`."""
        self.missing |= {tile.name or "?" for tile in tiles if find(tile.name, self.image_folders) is None}
        for tile in tiles:
            if overlay != "plain" and tile.active and tile.position is not None:
                drawn = overlay if tile.activation else "frame"
                self.n_drawn["tag" if tile.position < 0 else drawn] += 1

    def explain(self) -> None:
        """Show under the pictures what the outlines mean and which files are missing."""
        sentences = []
        if self.n_drawn["heat map"]:
            sentences.append(
                "Heat maps show where the unit is active: from violet (weak) to yellow (its largest activation on any "
                "image), smoothed between the patches."
            )
        if self.n_drawn["frame"] and self.seen.side is not None:
            sentences.append(
                "The magenta frame marks the token with the maximum activation"
                + (", where no map is stored" if self.n_drawn["heat map"] else "")
                + ". Positions assume a layout of "
                f"{self.seen.side} × {self.seen.side} tokens, inferred from the largest stored position, on the part "
                "of the image that the network saw."
            )
        if self.n_drawn["tag"]:
            sentences.append(
                "The tag CLS or register means that the maximum is at this token, which has no image position: no heat "
                "map is drawn."
            )
        if sentences:
            # Not a caption: those lack contrast on a light page.
            st.markdown(f":small[{plain(' '.join(sentences))}]")
        if self.missing:
            first = sorted(self.missing)[0]
            st.warning(
                f"{len(self.missing)} image files are missing, for example {plain(first)}. Give the folder of the "
                "image set with `harness app --images FOLDER` or `HARNESS_IMAGES`.",
                icon=":material/hide_image:",
            )


def gallery_of(store: Store, cell: Mapping[Any, Any], *, outlined: bool = True) -> Gallery:
    """Return the gallery for units of a cell, as returned by `queries.cells`."""
    return Gallery(
        fingerprint=cell["evaluation_fingerprint"],
        image_folders=folders(cell["dataset"], data.images_folder()),
        seen=seen_of(cell["identity"], last_position(store, cell["cell_id"]) if outlined else None),
    )


def listed(values: np.ndarray | None) -> list[Any]:
    """Return a list value of the store as a list, empty if there is none."""
    # DuckDB returns a list as an array, masked if an entry is NULL.
    return [] if values is None else list(np.ma.filled(values, 0).tolist())
