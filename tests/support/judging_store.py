"""A store with cells of three methods on a folder of pictures, made by hand: judging needs no backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness import datasets
from harness.datasets.base import ImageSet
from results import CellRecord, ScoreRecord, Store, open_store

FINGERPRINT = "evaluation-1"
METHODS = ("identity", "random_split", "pure")


def pictures(folder: Path) -> ImageSet:
    """All pictures of the folder as the evaluation split."""
    return datasets.load(f"folder:{folder}")


def make_store(path: Path, images: ImageSet, *, seeds: Sequence[int] = (1, 2), n_units: int = 20) -> Store:
    """Units of ``pure`` show one class each, of ``random_split`` any images, of ``identity`` mostly one class."""
    store = open_store(path, read_only=False)
    store.record_images(
        FINGERPRINT,
        pd.DataFrame({"index": np.arange(len(images)), "name": [record.name for record in images.records]}),
    )
    for token_seed in seeds:
        for method in METHODS:
            store.record(
                CellRecord(
                    cell_id=f"{method}-{token_seed}",
                    status="finished",
                    backbone="tiny_vit",
                    site="blocks.1.mlp.fc2",
                    dataset=images.name,
                    probing_fingerprint="probing-1",
                    evaluation_fingerprint=FINGERPRINT,
                    method=method,
                    config={"parts": 4} if method == "random_split" else {},
                    token_seed=token_seed,
                    init_seed=42,
                    identity={"evaluation": {"preprocessing": {"fit": "crop", "size": 28, "resize": 32}}},
                ),
                [ScoreRecord(metric="ms_score", value=0.5, unit="fraction")],
                _units(method, images, token_seed, n_units),
            )
    return store


def _units(method: str, images: ImageSet, seed: int, n_units: int) -> pd.DataFrame:
    generator = np.random.default_rng([seed, METHODS.index(method)])
    top = []
    for unit in range(n_units):
        own = generator.permutation(np.flatnonzero(images.labels == unit % 3))
        others = generator.permutation(np.flatnonzero(images.labels != unit % 3))
        share = {"pure": 9, "identity": 6, "random_split": 3}[method]
        top.append(generator.permutation(np.concatenate([own[:share], others[: 9 - share]])).astype(np.int32))
    values = np.linspace(2, 1, 9, dtype=np.float32)
    alive = np.arange(n_units) != 0
    return pd.DataFrame(
        {
            "unit": np.arange(n_units, dtype=np.int32),
            "alive": alive,
            "top_image": top,
            "top_position": [np.arange(9, dtype=np.int32) - 1] * n_units,
            # Unit 1 is active on three images alone.
            "top_value": [np.where(np.arange(9) < (9 if unit != 1 else 3), values, 0) for unit in range(n_units)],
        }
    )
