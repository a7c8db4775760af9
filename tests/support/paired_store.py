"""A store of two methods whose difference is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results import CellRecord, ScoreRecord, open_store
from results.store import Store


def cell(method: str, token_seed: int, cell_id: str = "", **changes: Any) -> CellRecord:
    fields = {"status": "finished", "backbone": "tiny", "site": "fc", "method": method, "init_seed": 0}
    return CellRecord(**{"cell_id": cell_id or f"{method}{token_seed}", "token_seed": token_seed, **fields, **changes})


def make_store(path: Path, *, n_units: int = 40, r2: float = 1.0, wrong_alive: bool = False) -> Store:
    """Two methods, three token seeds, unit rows whose mean is the score; the second method is worse by 0.1."""
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(0)
    unit_scores = generator.uniform(0.3, 0.7, n_units)
    for method, less in (("elude", 0.0), ("random_split", 0.1)):
        for seed in (1, 2, 3):
            ms = unit_scores - less + generator.normal(0, 0.01, n_units)
            units = pd.DataFrame(
                {
                    "unit": np.arange(n_units),
                    "parent": np.arange(n_units),
                    "alive": np.ones(n_units, bool),
                    "ms_score": ms,
                }
            )
            store.record(
                cell(method, seed, n_units=n_units, claims={"lossless": True}),
                [
                    ScoreRecord(metric="ms_score", value=float(ms.mean()), unit="fraction"),
                    ScoreRecord(metric="r2", value=r2, unit="fraction"),
                    ScoreRecord(metric="alive_fraction", value=0.5 if wrong_alive else 1.0, unit="fraction"),
                    ScoreRecord(metric="k", value=seed + less, params={"only": method}),
                ],
                units,
            )
    return open_store(path)
