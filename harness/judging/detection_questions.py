"""Units to explain, the images that explain them, and the single images in which their concepts are looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.datasets.base import BrokenImageError, ImageSet
from harness.identity import seed_of
from harness.judging.pairs import draw
from judges.base import Question
from judges.grids import N_TILES, Grid, Tile, content_hash
from results import Store
from results.views import View

#: Smallest number of images in each half of a unit's top images.
MIN_IMAGES = 4


class DetectionImages(NamedTuple):
    """Images of one unit; indices into the evaluation split."""

    unit: int
    parent: int | None
    """neuron that it is a part of"""
    explaining: tuple[int, ...]
    """top images of odd rank, strongest first, at most nine"""
    positives: tuple[int, ...]
    """top images of even rank, strongest first"""
    negatives: tuple[int, ...]
    """images outside of the unit's top images"""
    silent: bool
    """True if the unit is known to be active on none of the negatives"""


class DrawnCell(NamedTuple):
    """Units of one cell, in a random order."""

    units: list[DetectionImages]
    n_alive: int
    n_usable: int
    """alive units with enough top images, from which the units were drawn"""
    n_left_out: int = 0
    """drawn units that were left out: too few different images are among or outside of their top images"""


class Pictures:
    """Images of an evaluation split as tiles of questions; each is read once."""

    def __init__(self, images: ImageSet) -> None:
        self.n = len(images)
        self._images = images
        self.content: Callable[[int], str] = cache(self._content)
        self.readable: Callable[[int], bool] = cache(self._readable)

    def _content(self, index: int) -> str:
        return content_hash(self._images.reader.read(self._images.records[index]))

    def _readable(self, index: int) -> bool:
        try:
            self._images.open(index)
        except BrokenImageError:
            return False
        return True

    def grid(self, indices: Sequence[int], view: View) -> Grid:
        """Return a grid of up to nine images."""
        return Grid(tuple(Tile(self.content(index), index) for index in indices[:N_TILES]), view)

    def single(self, index: int, view: View) -> Grid:
        """Return one image as a picture of its own."""
        return Grid((Tile(self.content(index), index),), view, side=1)


def drawn_units(store: Store, cell_id: str, pictures: Pictures, *, units: int, images: int, seed: int) -> DrawnCell:
    """Draw alive units of a cell with at least :data:`MIN_IMAGES` active top images in each half.

    The stored top images on which a unit is active are split by rank: odd ranks explain, even ranks are held out, so
    both halves are about equally strong. The negatives are random images of the split that are not among them. The
    store holds no activations of other images. If one of its stored top images is inactive, the unit is silent on all
    negatives; if not, it is weaker on the negatives than on each of its top images.

    Args:
        store: store with the cell.
        cell_id: the cell.
        pictures: evaluation split that the top images refer to.
        units: number of units; a larger one continues the draw of a smaller one.
        images: largest number of positives, and of negatives.
        seed: of the draws.
    """
    frame = store.query(
        "SELECT unit, parent, top_image, top_value FROM units WHERE cell_id = ? AND alive ORDER BY unit", [cell_id]
    )
    usable: list[tuple[int, int | None, list[int], bool]] = []
    for row in frame.itertuples():
        # A store from elsewhere may lack a list, or have an index that points at nothing.
        indices, values = (np.ma.filled([] if part is None else part, 0) for part in (row.top_image, row.top_value))
        active = [int(image) for image, value in zip(indices, values, strict=False) if value > 0]
        top = [image for image in dict.fromkeys(active) if 0 <= image < pictures.n]
        if len(top) >= 2 * MIN_IMAGES:
            parent = None if pd.isna(row.parent) else int(row.parent)
            usable.append((int(row.unit), parent, top, len(active) < len(values)))
    chosen = draw(seed_of("explained units", seed, cell_id), len(usable), min(units, len(usable))) if usable else []
    drawn: list[DetectionImages] = []
    for number in chosen:
        unit, parent, top, silent = usable[number]
        # A copy in the other half would be recognised, whatever the concept is.
        top = _without_copies(pictures, top)
        explaining, positives = tuple(top[0::2][:N_TILES]), tuple(top[1::2][:images])
        negatives = _negatives(pictures, top, len(positives), seed_of("negatives", seed, cell_id, unit))
        if min(len(top) // 2, len(negatives)) >= MIN_IMAGES:
            drawn.append(DetectionImages(unit, parent, explaining, positives, negatives, silent))
    return DrawnCell(drawn, len(frame), len(usable), len(chosen) - len(drawn))


def _without_copies(pictures: Pictures, images: Sequence[int]) -> list[int]:
    """Return the first image of each content, in the same order."""
    first: dict[str, int] = {}
    for image in images:
        first.setdefault(pictures.content(image), image)
    return list(first.values())


def _negatives(pictures: Pictures, top: Sequence[int], count: int, seed: int) -> tuple[int, ...]:
    """Draw readable images that are not among the top images, and no copies of them or of each other."""
    excluded = set(top)
    contents = {pictures.content(image) for image in top}
    chosen: list[int] = []
    size = min(4 * (count + len(top)), pictures.n)
    seen = 0
    while len(chosen) < count:
        # A longer draw starts with the shorter one.
        order = draw(seed, pictures.n, size)
        for image in order[seen:]:
            is_other = image not in excluded and pictures.readable(image) and pictures.content(image) not in contents
            if is_other and len(chosen) < count:
                chosen.append(image)
                contents.add(pictures.content(image))
        if size == pictures.n:
            break
        seen, size = size, min(4 * size, pictures.n)
    return tuple(chosen)


def explaining_question(unit: DetectionImages, pictures: Pictures, view: View) -> Question:
    """Return the question for the concept of a unit."""
    return Question(pictures.grid(unit.explaining, view))


def detection_questions(
    unit: DetectionImages, concept: str, pictures: Pictures, view: View
) -> list[tuple[bool, Question]]:
    """Return one question per image, each with True if the image is a positive."""
    return [
        (positive, Question(pictures.single(index, view), concept=concept))
        for positive, indices in ((True, unit.positives), (False, unit.negatives))
        for index in indices
    ]


def control_units(concepts: Sequence[str | None]) -> list[int | None]:
    """Return for each unit with a concept the position of the other one whose concept is its control.

    It is the next unit with a concept, in the order of the units, after the last one the first. The units are in a
    random order, so this is a random derangement, and a unit that gets its concept later changes only the control of
    the one before it. None for a unit without a concept, and if no other has one.
    """
    named = [number for number, concept in enumerate(concepts) if concept]
    following = dict(zip(named, named[1:] + named[:1], strict=True))
    return [None if following.get(number) == number else following.get(number) for number in range(len(concepts))]
