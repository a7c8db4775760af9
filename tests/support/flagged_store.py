"""A small store with one row for each flag, a lossless and a virtual method, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import CellRecord, ScoreRecord, Store, open_store

SEEDS = (1, 2, 3)
UNITS = "units, clustered by parent"


def fraction(metric: str, value: float, error: float | None = None, **changes: Any) -> ScoreRecord:
    return ScoreRecord(metric=metric, value=value, uncertainty=error, unit="fraction", **changes)


def record(
    store: Store,
    label: str,
    ms: Sequence[float],
    *,
    method: str = "",
    claims: dict[str, Any] | None = None,
    factor: float = 2.0,
    error: float | None = 0.01,
    accuracy: float | None = 0.8,
    agreement: float | None = 0.9,
    r2: float | None = 0.7,
    overlap: float = 0.4,
    cosine: float = 0.5,
    extra: Sequence[ScoreRecord] = (),
) -> None:
    """Record one row: one cell for each of its MS scores."""
    for seed, value in zip(SEEDS, ms, strict=False):
        scores = [
            fraction("ms_score", value, error, uncertainty_kind=UNITS, n=100 + seed),
            ScoreRecord(metric="expansion_factor", value=factor, direction="none"),
            fraction("unit_overlap", overlap, direction="lower"),
            ScoreRecord(metric="nearest_cosine_mean", value=cosine, direction="lower", params={"direction": "reader"}),
            *(fraction(f"floor_mean_{name}", 0.5, direction="none") for name in ("accuracy", "agreement")),
            *extra,
        ]
        for metric, measured in (("accuracy", accuracy), ("agreement", agreement), ("r2", r2)):
            if measured is not None:
                scores.append(fraction(metric, measured, 0.04, uncertainty_kind="images", n=100))
        cell = CellRecord(
            cell_id=f"{label}-{seed}",
            status="finished",
            backbone="vit",
            site="fc",
            dataset="photos",
            method=method or label,
            label=label,
            token_seed=seed,
            init_seed=0,
            claims={"family": "method", "control_for": [], **(claims or {})},
        )
        store.record(cell, scores)


def make_store(path: Path) -> Store:
    """Rows: good and fair without a flag, one of each flag, a lossless and a virtual one, two controls."""
    store = open_store(path, read_only=False)
    record(store, "good", [0.60, 0.61, 0.62])
    record(store, "fair", [0.55, 0.56, 0.57], r2=0.6)
    record(store, "third", [0.54, 0.55, 0.56], r2=0.5)
    record(store, "copies", [0.90, 0.91, 0.92], overlap=0.99, cosine=0.999, r2=0.98)
    record(store, "broken net", [0.80, 0.81, 0.82], accuracy=0.5, r2=0.97)
    record(store, "guesses", [0.50, 0.51, 0.52], claims={"family": "sae"}, r2=0.96, factor=4.1)
    record(store, "single", [0.85], r2=0.99)
    record(store, "exact", [0.58, 0.58, 0.59], claims={"lossless": True}, r2=1.0, agreement=1.0)
    record(store, "ghost", [0.95, 0.96, 0.97], claims={"virtual": True}, accuracy=None, agreement=None, r2=None)
    controls = {"family": "control", "control_for": ["sae"]}
    record(store, "random atoms", [0.505, 0.51, 0.515], claims=controls, factor=4.0)
    record(store, "backbone only", [0.52, 0.52, 0.52], method="identity", claims={"family": "control"})
    return open_store(path)
