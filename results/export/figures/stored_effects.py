"""Stored effects of steering, read as what they are declared to be: a store may come from anyone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.errors import StoreError
from results.store import Store
from results.store.records import records_of
from results.store.steerings import steerings
from results.visible_text import bounded

#: Most images and most classes or captions that are drawn of one effect.
MOST_IMAGES, MOST_ROWS = 4, 8
#: Largest side of a token grid.
MOST_SIDE = 256


class Bar(NamedTuple):
    """Probability of one class."""

    name: str
    before: float
    after: float
    control: float


class ClassEffect(NamedTuple):
    """Change of one image's class distribution."""

    image: str
    bars: tuple[Bar, ...]
    touched: Mapping[int, int]
    """grid position -> number of edited units"""


class CaptionEffect(NamedTuple):
    """Captions of one image."""

    image: str
    captions: tuple[tuple[str, str], ...]
    """(setting, caption)"""


class StoredEffect(NamedTuple):
    """One effect of a cell."""

    kind: str
    title: str
    """the concepts and factors"""
    n_units: int
    side: int
    """of the token grid; 0: none"""
    classes: tuple[ClassEffect, ...]
    captions: tuple[CaptionEffect, ...]


def effects_of(store: Store, cell_id: str) -> list[StoredEffect]:
    """Return the effects of a cell, the newest first.

    Raises:
        StoreError: there is none, or one is not what this program writes.
    """
    rows = records_of(steerings(store, [cell_id]))
    if not rows:
        raise StoreError(
            f"The store has no effect of steering of the cell {cell_id}: run `harness steer --cell {cell_id[:8]} "
            "--amplify CONCEPT --keep` first."
        )
    effects = []
    for row in rows:
        try:
            effects.append(_effect(row))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StoreError(
                f"The effect {bounded(row['steering'], 40)} of the cell {cell_id} is not what `harness steer --keep` "
                "writes: steer again, or use another store."
            ) from error
    return effects


def _effect(row: Mapping[str, Any]) -> StoredEffect:
    settings, result, kind = row["settings"], row["result"], str(row["kind"])
    n_units = len(result["units"])
    if kind == "captions":
        by_image: dict[str, list[tuple[str, str]]] = {}
        for each in result["captions"]:
            texts = bounded(each["setting"], 100), bounded(each["caption"], 400)
            by_image.setdefault(bounded(each["image"], 200), []).append(texts)
        captions = tuple(
            CaptionEffect(image, tuple(texts[:MOST_ROWS])) for image, texts in list(by_image.items())[:MOST_IMAGES]
        )
        return StoredEffect(kind, _title(settings), n_units, 0, (), captions)
    side = int(result["grid"])
    if not 0 <= side <= MOST_SIDE:
        raise ValueError("side of the grid")
    classes = tuple(_of_image(image, side) for image in result["images"][:MOST_IMAGES])
    return StoredEffect(kind, _title(settings), n_units, side, classes, ())


def _of_image(image: Mapping[str, Any], side: int) -> ClassEffect:
    bars = tuple(
        Bar(bounded(each["name"], 100), *(_share(each[name]) for name in ("before", "after", "control")))
        for each in image["classes"][:MOST_ROWS]
    )
    touched = {
        int(position): int(n) for position, n in image["touched"] if 0 <= int(position) < side * side and int(n) >= 1
    }
    return ClassEffect(bounded(image["name"], 200), bars, touched)


def _share(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or not -1e-6 <= number <= 1 + 1e-6:
        raise ValueError("no probability")
    return min(max(number, 0.0), 1.0)


def _title(settings: Mapping[str, Any]) -> str:
    """Return the concepts with their factors, such as "+ dog (x 5), - cat (x -50)"."""
    parts = [
        f"{sign} {bounded(concept, 40)} (x {float(settings[factor]):g})"
        for sign, concepts, factor in (("+", "amplify", "alpha"), ("-", "suppress", "gamma"))
        for concept in _texts(settings[concepts])[:5]
    ]
    nu = settings["nu"]
    patches = "all patches" if nu is None else f"{int(nu)} patches per unit"
    return f"{', '.join(parts)}; {patches}"


def _texts(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values]
