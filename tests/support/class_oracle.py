"""Pictures of one colour per class, cells of made-up units, and a model that recognises the classes by their colour."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from harness import datasets
from harness.datasets.base import ImageSet
from results import CellRecord, Store, open_store

FINGERPRINT = "evaluation-1"
#: Far from each other and from the grey of empty cells.
COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 180, 20),
    "blue": (20, 20, 220),
    "yellow": (230, 230, 20),
    "cyan": (20, 220, 220),
    "violet": (150, 20, 200),
    "black": (5, 5, 5),
    "white": (250, 250, 250),
}
PER_CLASS = 12
TILE_PX = 336


def coloured_folder(folder: Path) -> Path:
    """Class folders of 8 x 12 pictures, each of another shade."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            shade = [value + 2 * number * (1 if value < 128 else -1) for value in colour]
            pixels = np.full((32, 32, 3), shade, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def coloured_images(folder: Path) -> ImageSet:
    return datasets.load(f"folder:{folder}")


def made_store(path: Path, images: ImageSet, *, units: int = 16, n_top: int = PER_CLASS) -> Store:
    """Cells ``planted`` (unit u is active on the images of class u % 8) and ``random`` (on any twelve images)."""
    store = open_store(path, read_only=False)
    labels = np.array(images.labels)
    names = [record.name for record in images.records]
    store.record_images(FINGERPRINT, pd.DataFrame({"index": np.arange(len(images)), "name": names}))
    generator = np.random.default_rng(7)
    for method in ("planted", "random"):
        pools = [np.flatnonzero(labels == u % len(COLOURS)) if method == "planted" else labels for u in range(units)]
        top = [
            generator.permutation(pool if method == "planted" else len(labels))[:n_top].astype(np.int32)
            for pool in pools
        ]
        frame = pd.DataFrame(
            {
                "unit": np.arange(units, dtype=np.int32),
                "alive": True,
                "top_image": top,
                "top_position": [np.zeros(n_top, np.int32)] * units,
                "top_value": [np.linspace(2, 1, n_top, dtype=np.float32)] * units,
            }
        )
        store.record(
            CellRecord(
                cell_id=f"{method}-1",
                status="finished",
                backbone="tiny_vit",
                site="blocks.1.mlp.fc2",
                dataset=images.name,
                probing_fingerprint="probing-1",
                evaluation_fingerprint=FINGERPRINT,
                method=method,
                token_seed=1,
                init_seed=42,
                identity={"evaluation": {"preprocessing": {"fit": "crop", "size": 28, "resize": 32}}},
            ),
            units=frame,
        )
    return store


def oracle(body: dict[str, Any]) -> str:
    """Name the commonest class of a grid, and say if a single picture is of the named class."""
    *pictures, text = body["messages"][0]["content"]
    (picture,) = pictures
    tiles = classes_of(picture["image_url"]["url"])
    if len(tiles) > 1 or "{concept}" in text["text"] or "Name the concept" in text["text"]:
        # Of several equally common ones the first by name, so that the reply depends on the grid alone.
        commonest = min(Counter(tiles).items(), key=lambda item: (-item[1], item[0]))[0]
        return json.dumps({"concept": commonest})
    return json.dumps({"answer": "yes" if tiles == [asked_concept(text["text"])] else "no"})


def always(answer: str) -> Callable[[dict[str, Any]], str]:
    """Return a model that names every concept "thing" and answers every other question alike."""

    def reply(body: dict[str, Any]) -> str:
        is_grid = "Name the concept" in body["messages"][0]["content"][-1]["text"]
        return json.dumps({"concept": "thing"} if is_grid else {"answer": answer})

    return reply


def asked_concept(text: str) -> str:
    match = re.search(r"^Concept: (.*)$", text, re.MULTILINE)
    assert match is not None
    return str(json.loads(match[1]))


def classes_of(url: str) -> list[str]:
    """Return the class of each tile of a picture, row by row; grey tiles are left out."""
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    side = len(pixels) // TILE_PX
    names = []
    for row in range(side):
        for column in range(side):
            tile = pixels[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
            mean = tile.mean((0, 1))
            distances = {name: float(np.abs(mean - colour).max()) for name, colour in COLOURS.items()}
            nearest = min(distances, key=distances.__getitem__)
            if distances[nearest] < 30:
                names.append(nearest)
    return names
