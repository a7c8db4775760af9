"""Units of a row on the site: which are shown, their numbers in words, and their pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from results.short_number import short_number
from results.site import queries
from results.site.licences import Images
from results.site.names import cell_name
from results.site.queries import Record
from results.site.texts import bounded
from results.site.tiles import COLUMNS, PICTURE_PX, Tile, frame_of, images_picture, maps_picture, side_of
from results.store import Store
from results.store.images import image_names, last_position
from results.store.unit_maps import UnitMaps, unit_maps
from results.views import view_of

#: Judged and typical units beside the best ones: at most so many, and no more than the best ones.
MOST_JUDGED = MOST_TYPICAL = 3
_MOST_NEAR = 4
_TILES = COLUMNS**2
_PEAKS_PX = (96, 18)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitCard:
    """Unit as it is on a page.

    Attributes:
        number: of the unit.
        facts: its numbers in words.
        picture: path of the picture of its images from the root of the site; "" without one.
        maps: path of the picture of its activation maps; "" without one.
        alt: description of the pictures.
        classes: classes of its top images with their numbers, the most frequent first.
        bars: (x, y, width, height) of the histogram of the images by the unit's maximum, in px.
        near: units of the page that share most of its top images, with the number of shared ones, most first.
    """

    number: int
    facts: tuple[str, ...]
    picture: str
    maps: str
    alt: str
    classes: str
    bars: tuple[tuple[float, float, float, float], ...]
    near: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """Units of one cell.

    Attributes:
        cell: id of the cell.
        seed: its seeds in words.
        summary: number of units in words.
        sections: title, explanation and cards of each kind of unit.
        has_images: true if images may be shown.
        files: path -> content of all pictures.
        size_px: of the pictures.
    """

    cell: str
    seed: str
    summary: str
    sections: tuple[tuple[str, str, tuple[UnitCard, ...]], ...]
    has_images: bool
    files: Mapping[str, bytes]
    size_px: int = PICTURE_PX

    @property
    def page(self) -> str:
        """Name of its file in the folder `units`."""
        return f"{cell_name(self.cell)}.html"

    @property
    def has_maps(self) -> bool:
        """True if a unit has a picture of its activation maps."""
        return any(card.maps for *_, cards in self.sections for card in cards)

    @property
    def best(self) -> tuple[UnitCard, ...]:
        """Cards of the first section."""
        return self.sections[0][2] if self.sections else ()


def gallery(store: Store, cell: Record, images: Images, n_best: int) -> Gallery | None:
    """Return the gallery of a cell, a row of `queries.cells`; None if it has no unit to show."""
    cell_id = cell["cell_id"]
    best = queries.best_units(store, cell_id, n_best)
    counted = {unit["unit"]: unit for unit in queries.judged_units(store, cell_id, n_best + MOST_JUDGED)}
    # A unit is on the page once, so that its address does not depend on why it is there.
    best = [unit | {"n_judged": counted.get(unit["unit"], {}).get("n_judged")} for unit in best]
    numbers = {unit["unit"] for unit in best}
    judged = [unit for number, unit in counted.items() if number not in numbers][: min(MOST_JUDGED, n_best)]
    numbers |= {unit["unit"] for unit in judged}
    typical = [u for u in queries.typical_units(store, cell_id, min(MOST_TYPICAL, n_best)) if u["unit"] not in numbers]
    if not best and not judged:
        return None
    drawer = _Drawer(store, cell, images, [*best, *judged, *typical])
    sections = (
        ("Best", "The highest MS scores above chance, of units that are active on nine images or more.", best),
        ("Judged", "The units that judges compared most often with those of other methods.", judged),
        ("Typical", "Units at the median of this score: what to expect of an arbitrary unit.", typical),
    )
    counts = queries.n_units(store, cell_id)
    return Gallery(
        cell=cell_id,
        seed=seeds_text(cell),
        summary=f"{counts['n']} units, {counts['n_alive']} alive, {counts['n_scored']} with an MS score",
        sections=tuple((title, text, tuple(map(drawer.card, units))) for title, text, units in sections if units),
        has_images=drawer.has_images,
        files=drawer.files,
    )


def seeds_text(cell: Mapping[str, Any]) -> str:
    """Return the seeds of a cell in words."""
    seeds = {kind: cell[f"{kind}_seed"] for kind in ("token", "init")}
    return ", ".join(f"{kind} seed {seed}" for kind, seed in seeds.items() if seed is not None) or "no seed"


class _Drawer:
    """Draws the units of one cell; `files` are the pictures drawn so far."""

    def __init__(self, store: Store, cell: Record, images: Images, units: Sequence[Record]) -> None:
        self.images, self.dataset = images, cell["dataset"]
        self.folder = f"img/{cell_name(cell['cell_id'])}"
        self.view = view_of(cell["identity"])
        self.has_images = images.may_show(self.dataset)
        self.maps = unit_maps(store, cell["cell_id"], [unit["unit"] for unit in units])
        self.side = side_of(last_position(store, cell["cell_id"]))
        wanted = {index for unit in units for index in listed(unit["top_image"])}
        self.names = image_names(store, cell["evaluation_fingerprint"], sorted(wanted)) if wanted else {}
        self.files: dict[str, bytes] = {}
        self.top_images = {int(unit["unit"]): _active_images(unit) for unit in units}

    def card(self, unit: Record) -> UnitCard:
        """Return the card of a unit, and draw its pictures."""
        number = int(unit["unit"])
        top = listed(unit["top_image"])[:_TILES]
        active = [value > 0 for value in listed(unit["top_value"])[:_TILES]] or [True] * len(top)
        content = self.maps.get(number)
        maps_of_images = None if content is None else _without_prefix(content.maps, listed(unit["top_position"]))
        classes = [self.names.get(index, (None, ""))[1] for index in top]
        has_maps = maps_of_images is not None and bool(maps_of_images.any())
        path = f"{self.folder}-{number}"
        picture = maps = ""
        if self.has_images and top:
            picture = f"{path}.webp"
            self.files.setdefault(picture, self._images(unit, top, active, outlined=not has_maps))
        if has_maps and maps_of_images is not None:
            maps = f"{path}-map.webp"
            self.files.setdefault(maps, maps_picture(maps_of_images))
        what = "Top images" if picture else "Activation maps"
        named = _counted(classes)
        return UnitCard(
            number=number,
            facts=tuple(_facts(unit)),
            picture=picture,
            maps=maps,
            alt=f"{what} of unit {number}" + (f": {named}" if named else ""),
            classes=named,
            bars=_bars(content),
            near=self._near(number),
        )

    def _near(self, number: int) -> tuple[tuple[int, int], ...]:
        images = self.top_images[number]
        shared = ((len(images & others), other) for other, others in self.top_images.items() if other != number)
        nearest = sorted(((n_shared, -other) for n_shared, other in shared if n_shared), reverse=True)
        return tuple((-other, n_shared) for n_shared, other in nearest[:_MOST_NEAR])

    def _images(self, unit: Record, top: Sequence[int], active: Sequence[bool], *, outlined: bool) -> bytes:
        positions = listed(unit["top_position"])[: len(top)] or [None] * len(top)
        tiles = [
            Tile(
                self.images.file(self.dataset, self.names.get(index, (None, ""))[0]) if is_active else None,
                self.view,
                is_active,
                frame_of(position, self.side) if outlined else None,
            )
            for index, position, is_active in zip(top, positions, active, strict=False)
        ]
        return images_picture(tiles)


def _active_images(unit: Record) -> frozenset[int]:
    """Return the top images of a unit on which it is active."""
    images, values = listed(unit["top_image"])[:_TILES], listed(unit["top_value"])[:_TILES]
    return frozenset(image for image, value in zip(images, values or [1] * len(images), strict=False) if value > 0)


def _without_prefix(maps: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    """Return the maps, empty for images on which the maximum is at CLS or a register: they show other places."""
    at_prefix = [number for number, position in enumerate(positions[: len(maps)]) if position < 0]
    of_patches = maps.copy()
    of_patches[at_prefix] = 0
    return of_patches


def _facts(unit: Record) -> Iterable[str]:
    chance = _percent(unit["chance"])
    random_images = "" if chance is None else f" (random images: {short_number(chance)}\N{NO-BREAK SPACE}%)"
    yield f"MS {short_number(_percent(unit['ms_score']))}\N{NO-BREAK SPACE}%{random_images}"
    if unit["parent"] is not None and unit["parent"] != unit["unit"]:
        yield f"part of original unit {unit['parent']}"
    positions = listed(unit["top_position"])
    if on_cls := sum(position < 0 for position in positions):
        yield f"{on_cls} of {len(positions)} maxima at CLS"
    if unit.get("n_judged"):
        yield f"judged {unit['n_judged']} times"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _counted(classes: Sequence[str]) -> str:
    counts = {name: classes.count(name) for name in dict.fromkeys(classes) if name}
    ordered = sorted(counts, key=lambda name: -counts[name])
    return bounded(", ".join(f"{bounded(name, 40)} {counts[name]}" for name in ordered), 160)


def _bars(content: UnitMaps | None) -> tuple[tuple[float, float, float, float], ...]:
    """Return the histogram from the weakest maximum (left) to the strongest: the square root of each count."""
    if content is None or not len(content.peaks) or content.peaks.max() <= 0:
        return ()
    width, height = _PEAKS_PX
    counts = np.trim_zeros(np.clip(content.peaks, 0, None), "b")[::-1]
    roots = np.sqrt(counts.astype(float))
    step = width / len(roots)
    return tuple(
        (number * step, height - height * share, step - 0.5, height * share)
        for number, share in enumerate((roots / roots.max()).tolist())
        if share > 0
    )


def listed(values: Any) -> list[Any]:
    """Return a list of the store as a list of numbers; an entry that is missing or no number is 0."""
    if values is None:
        return []
    filled = np.ma.filled(values, 0)
    return [0 if value != value else value for value in filled.tolist()]
