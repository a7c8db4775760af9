"""Cells with robustness scores, made from what a probe predicts of each image at each level and draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.metrics.base import Score
from harness.metrics.robust_curve import Level, RobustCurve
from results import CellRecord, ScoreRecord, Store, open_store
from results.store.labels import record_cell_scores

#: Levels of each metric, the undisturbed one first.
LEVELS: dict[str, list[dict[str, Any]]] = {
    "robust_corruption": [
        {"corruption": "none", "severity": 0},
        *({"corruption": name, "severity": severity} for name in ("contrast", "pixelate") for severity in (1, 5)),
    ],
    "robust_labels": [{"share": share} for share in (0, 40, 80)],
    "robust_few_shot": [{"shots": shots} for shots in (None, 1, 5)],
}
DRAWS = {"robust_corruption": 1, "robust_labels": 4, "robust_few_shot": 5}


def predictions(metric: str, accuracy: float, seed: int, n: int = 60) -> np.ndarray:
    """Return (levels, draws, n) bool, right with a probability that falls over the levels; images differ."""
    generator = np.random.default_rng([seed, n])
    difficulty = np.random.default_rng(n).normal(0, 0.15, n)
    chance = accuracy - 0.05 * np.arange(len(LEVELS[metric]))[:, None, None] + difficulty
    right: np.ndarray = generator.random((len(LEVELS[metric]), DRAWS[metric], n)) < chance
    right[0] = right[0, :1]
    return right


def robust_scores(
    metric: str, codes: np.ndarray, layer: np.ndarray, majority: float = 0.2, **params: Any
) -> list[ScoreRecord]:
    """Return the scores of predictions (levels, draws, n) as the metric gives them."""
    levels = [Level(*each) for each in zip(LEVELS[metric], codes, layer, strict=True)]
    clean = levels[0]._replace(codes=codes[0, :1], layer=layer[0, :1])
    curve = RobustCurve(torch.arange(codes.shape[-1]), majority, clean, levels[1:])
    scores: list[Score] = list(curve.scores(metric, params, {"n_probing": 99}))
    return [ScoreRecord(**score._asdict()) for score in scores]


def record_robust_scores(store: Store, cell_id: str, seed: int = 0) -> None:
    """Add scores of all metrics to a cell."""
    for metric in LEVELS:
        scores = robust_scores(metric, predictions(metric, 0.8, seed), predictions(metric, 0.6, 1000))
        record_cell_scores(store, cell_id, scores)


def cell_of(cell_id: str, **changes: Any) -> CellRecord:
    """Return a cell of an SAE with 100 units."""
    fields: dict[str, Any] = {
        "cell_id": cell_id, "status": "finished", "backbone": "vit", "backbone_title": "vit", "site": "fc",
        "dataset": "photos", "method": "topk_sae", "label": cell_id, "config": {"label": cell_id}, "token_seed": 42,
        "evaluation_fingerprint": "e", "probing_fingerprint": "p", "n_units": 100, "d_out": 50,
        "claims": {"family": "sae", "control_for": []},
    }  # fmt: skip
    return CellRecord(**(fields | changes))


CONTROL: dict[str, Any] = {
    "method": "random_dictionary",
    "claims": {"family": "control", "control_for": ["sae"], "training_free": True},
}


def store_of(path: Path, cells: dict[str, tuple[dict[str, Any], list[ScoreRecord]]]) -> Store:
    """Return a store of cells: id -> (changes of the cell, its scores)."""
    store = open_store(path, read_only=False)
    for cell_id, (changes, scores) in cells.items():
        store.record(cell_of(cell_id, **changes), scores)
    return open_store(path)
