"""Top images of a unit on the page: rows of the store as one picture, with a description for screen readers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from results.app import data, queries
from results.app.pictures import PictureTile, Seen, find, folders, seen_of, strip
from results.app.titles import plain, visible
from results.store import Store


@dataclasses.dataclass
class Gallery:
    """Gallery of units of the cells of one board.

    Attributes:
        fingerprint: of the images, as in the store.
        image_folders: searched for the files, in this order.
        seen: part of each image that the network saw.
        names: image index -> (file name, class), filled by `prepare` with one query for all units of a page.
        missing: names of the files that were needed and not found.
    """

    fingerprint: str | None
    image_folders: Sequence[Path]
    seen: Seen
    names: dict[int, tuple[str | None, str]] = dataclasses.field(default_factory=dict)
    missing: set[str] = dataclasses.field(default_factory=set)

    def prepare(self, store: Store, units: Iterable[Mapping[str, Any] | None]) -> None:
        """Look up the images of units with one query; None is a missing unit."""
        wanted = {index for unit in units if unit for index in listed(unit["top_image"])} - set(self.names)
        if wanted:
            self.names |= queries.image_names(store, self.fingerprint, sorted(wanted))

    def show(self, unit: Mapping[str, Any], what: str, *, tile_px: int, columns: int, count: int = 9) -> None:
        """Show the top `count` images of a unit, a row of the store, strongest first, in rows of `columns`.

        Screen readers name the unit as `what`.
        """
        tiles, classes = self._tiles(unit, count)
        if not tiles:
            st.text("No top images are stored for this unit.")
            return
        self.missing |= {tile.name or "?" for tile in tiles if find(tile.name, self.image_folders) is None}
        picture = strip(tiles, self.image_folders, self.seen, tile_px=tile_px, columns=columns)
        described = f"Top images of {visible(what)}: " + ", ".join(visible(name) for name in classes)
        st.image(picture, alt=described, width=columns * (tile_px + 3) - 3)

    def explain(self) -> None:
        """Show under the pictures what the outlines mean and which files are missing."""
        if self.seen.side is not None:
            st.caption(
                "The magenta frame marks the token with the maximum activation. The tag CLS means the CLS token, which "
                f"has no image position. Positions assume a layout of {self.seen.side} × {self.seen.side} tokens, "
                "inferred from the largest stored position, on the part of the image that the network saw."
            )
        if self.missing:
            first = sorted(self.missing)[0]
            st.warning(
                f"{len(self.missing)} image files are missing, for example {plain(first)}. Give the folder of the "
                "image set with `harness app --images FOLDER` or `HARNESS_IMAGES`.",
                icon=":material/hide_image:",
            )

    def _tiles(self, unit: Mapping[str, Any], count: int) -> tuple[list[PictureTile], list[str]]:
        images = listed(unit["top_image"])[:count]
        positions = listed(unit["top_position"]) or [None] * len(images)
        values = listed(unit["top_value"]) or [1.0] * len(images)
        tiles, classes = [], []
        for index, position, value in zip(images, positions, values, strict=False):
            name, class_name = self.names.get(index, (None, ""))
            tiles.append(PictureTile(name, position, value > 0))
            classes.append(class_name or name or f"image {index}")
        return tiles, classes


def gallery_of(store: Store, cell: Mapping[Any, Any], *, outlined: bool = True) -> Gallery:
    """Return the gallery for units of a cell, as returned by `queries.cells`."""
    return Gallery(
        fingerprint=cell["evaluation_fingerprint"],
        image_folders=folders(cell["dataset"], data.images_folder()),
        seen=seen_of(cell["identity"], queries.last_position(store, cell["cell_id"]) if outlined else None),
    )


def listed(values: np.ndarray | None) -> list[Any]:
    """Return a list value of the store as a list, empty if there is none."""
    # DuckDB returns a list as an array, masked if an entry is NULL.
    return [] if values is None else list(np.ma.filled(values, 0).tolist())
