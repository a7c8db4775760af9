"""Images of a figure's units: their files, what is drawn over them, and who is to be credited."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results.export.figures import page
from results.export.figures.unit_choice import ChosenUnit, TopImage
from results.pictures.credits import Credit, credits_of
from results.pictures.image_files import PHOTOS, find, folders, is_photos
from results.pictures.tiles import OPACITY, PictureTile, Seen, drawn_tile, seen_of, visible_square
from results.store.images import image_names, last_position
from results.store.unit_maps import unit_maps
from results.visible_text import bounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from results.store import Store

_NAME_SIZE, _NAME_LINES = 4.5, 4
_GREY = "#d9d9d9"


@dataclasses.dataclass
class Pictures:
    """Images of the units of a figure.

    Attributes:
        names: image index -> file name; None: not in the store.
        image_folders: searched for the files, in this order.
        seen: cell id -> part of each image that the network saw.
        maps: (cell id, unit) -> its activation maps, one text of bytes per top image; empty without heat maps.
        heat: draw heat maps, and a frame around the maximum of images without one.
        credits: file name -> attribution of the shipped photographs.
        missing: names of images without a file that can be read.
        used: names of the images that are drawn.
        overlays: kinds of drawings over the images: "heat map", "frame", "tag".
    """

    names: Mapping[int, str | None]
    image_folders: Sequence[Path]
    seen: Mapping[str, Seen]
    maps: Mapping[tuple[str, int], Sequence[bytes]]
    heat: bool
    credits: Mapping[str, Credit]
    missing: set[str] = dataclasses.field(default_factory=set)
    used: set[str] = dataclasses.field(default_factory=set)
    overlays: set[str] = dataclasses.field(default_factory=set)

    @classmethod
    def of(
        cls,
        store: Store,
        cell: Mapping[str, Any],
        units: Sequence[tuple[str, ChosenUnit]],
        images: Path | None,
        *,
        heat: bool,
    ) -> Pictures:
        """Look up the images of units, each with the id of its cell; all cells have the images of `cell`."""
        wanted = sorted({image.image for _, unit in units for image in unit.images})
        names = image_names(store, cell["evaluation_fingerprint"], wanted) if wanted else {}
        cells = dict.fromkeys(cell_id for cell_id, _ in units)
        maps: dict[tuple[str, int], Sequence[bytes]] = {}
        for cell_id in cells if heat else ():
            numbers = [unit.number for of_cell, unit in units if of_cell == cell_id]
            for number, stored in unit_maps(store, cell_id, numbers).items():
                maps[cell_id, number] = [map_.tobytes() for map_ in stored.maps]
        photos = next(iter(folders(PHOTOS, None)), None) if is_photos(cell["dataset"]) else None
        last = {cell_id: last_position(store, cell_id) if heat else None for cell_id in cells}
        return cls(
            names={index: name for index, (name, _) in names.items()},
            image_folders=folders(cell["dataset"], images),
            seen={cell_id: seen_of(cell["identity"], last[cell_id]) for cell_id in cells},
            maps=maps,
            heat=heat,
            credits=credits_of(photos) if photos is not None else {},
        )

    def tile(self, cell_id: str, unit: ChosenUnit, image: TopImage, px: int) -> np.ndarray | None:
        """Return an image as (px, px, 3) uint8 with what is drawn over it; None if it has no file that can be read."""
        name = self.names.get(image.image)
        path, seen = find(name, self.image_folders), self.seen[cell_id]
        stamp = None if path is None else path.stat().st_mtime_ns
        if path is None or stamp is None or visible_square(path, stamp, seen.view, px) is None:
            self.missing.add(self.name(image))
            return None
        maps = self.maps.get((cell_id, unit.number), ())
        tile = PictureTile(name, image.position, True, maps[image.rank] if image.rank < len(maps) else None)
        self.used.add(str(name))
        if self.heat and image.position is not None:
            self.overlays.add("tag" if image.position < 0 else "heat map" if tile.activation else "frame")
        drawn = drawn_tile(tile, path, stamp, seen, px, "heat map" if self.heat else "plain", OPACITY)
        return np.asarray(drawn.convert("RGB"))

    def name(self, image: TopImage) -> str:
        """Return the file name of an image, or its number if the store has none."""
        return bounded(self.names.get(image.image) or f"image {image.image}", 200)

    def notes(self) -> list[str]:
        """Return sentences on what was drawn over the tiles so far, and on missing images."""
        texts = {
            "heat map": "Heat maps: where the unit is active, from violet (weak) to yellow (its largest activation).",
            "frame": "Magenta frames: the token with the largest activation.",
            "tag": "Tags: the largest activation is at CLS or a register, which have no position.",
        }
        sentences = [text for kind, text in texts.items() if kind in self.overlays]
        return sentences + (["Grey: the file was not found or cannot be read."] if self.missing else [])

    def credit_text(self) -> str:
        """Return the attribution of the tiles so far, files of one holder and licence together; empty without any."""
        files: dict[tuple[str, str], list[str]] = {}
        for name in sorted(self.used & set(self.credits)):
            credit = self.credits[name]
            files.setdefault((credit.holder, credit.licence), []).append(name)
        texts = [f"{holder}, {licence}: {', '.join(names)}" for (holder, licence), names in sorted(files.items())]
        return f"Photographs: {'; '.join(texts)}." if texts else ""


def draw_tile(axes: Axes, tile: np.ndarray | None, name: str, x: float, y: float, side: float) -> None:
    """Draw a tile with its upper left corner at (x, y), in points; without a picture it is grey and has its name."""
    from matplotlib.patches import Rectangle

    if tile is not None:
        page.draw_image(axes, tile, x, y, side, side)
        return
    axes.add_patch(Rectangle((x, y), side, side, facecolor=_GREY, edgecolor="none"))
    lines = _name_lines(name, side - 3)
    top = y + (side - page.LEADING * _NAME_SIZE * len(lines)) / 2
    page.write_lines(axes, x + side / 2, top, lines, _NAME_SIZE, ha="center", color=page.SOFT_INK)


def _name_lines(name: str, width: float) -> list[str]:
    """Return a file name in a few lines, broken anywhere: it has no spaces."""
    rest = bounded(name, 200)
    lines: list[str] = []
    while rest and len(lines) < _NAME_LINES - 1:
        length = max(1, page.fitting(rest, _NAME_SIZE, width))
        lines.append(rest[:length])
        rest = rest[length:]
    return [*lines, page.shortened(rest, _NAME_SIZE, width)] if rest else lines
