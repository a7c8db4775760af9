"""A store of units made by hand, with images of one colour each: what a figure of units is drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from results import CellRecord, ScoreRecord, Store, open_store

EVALUATION = "evaluation"


@dataclasses.dataclass(frozen=True)
class Unit:
    """Unit with its top images; the activation falls from `strongest` by 0.1 an image."""

    number: int
    images: Sequence[int]
    ms_score: float | None = 0.5
    parent: int | None = None
    strongest: float = 2.0
    alive: bool = True


def colour(image: int) -> tuple[int, int, int]:
    """Colour of an image: no two of the first 125 are near one another, and none is white or grey."""
    return 40 * (image % 5), 40 * (image // 5 % 5), 40 + 40 * (image // 25 % 5)


def make_images(folder: Path, images: Sequence[int]) -> Path:
    """Write the images of these numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        Image.new("RGB", (32, 32), colour(image)).save(folder / f"{image:03d}.png")
    return folder


def make_store(
    path: Path, n_images: int = 100, names: Sequence[str] | None = None, classes: Sequence[str] = ()
) -> Store:
    """Return a new, writable store with the names of the images and no cell."""
    store = open_store(path, read_only=False)
    content = {
        "index": np.arange(n_images),
        "name": list(names) if names is not None else [f"{image:03d}.png" for image in range(n_images)],
    }
    if classes:
        content["class_name"] = [classes[image % len(classes)] for image in range(n_images)]
    store.record_images(EVALUATION, pd.DataFrame(content))
    return store


def record(store: Store, cell_id: str, units: Sequence[Unit], **changes: Any) -> None:
    """Write a finished cell with these units."""
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "status": "finished",
        "backbone": "vit",
        "site": "fc",
        "dataset": "folder:pictures",
        "evaluation_fingerprint": EVALUATION,
        "method": "elude",
        "token_seed": 42,
    }
    frame = pd.DataFrame(
        {
            "unit": [unit.number for unit in units],
            "alive": [unit.alive for unit in units],
            # None beside numbers is NaN in a frame; alone it is NULL.
            "ms_score": [unit.ms_score for unit in units],
            "top_image": [np.array(unit.images, np.int32) for unit in units],
            "top_value": [unit.strongest - 0.1 * np.arange(len(unit.images)) for unit in units],
            "top_position": [np.full(len(unit.images), 1, np.int32) for unit in units],
        }
    )
    if any(unit.parent is not None for unit in units):
        frame["parent"] = pd.array([unit.parent for unit in units], dtype="Int32")
    store.record(CellRecord(**(fields | changes)), [ScoreRecord(metric="ms_score", value=0.5, unit="fraction")], frame)
