"""A store of two methods whose difference is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from results import CellRecord, ScoreRecord, open_store
from results.store import Store


def make_store(path: Path, *, n_units: int = 40, r2: float = 1.0, wrong_alive: bool = False) -> Store:
    """Two methods, three token seeds, unit rows whose mean is the score; the second method is worse by 0.1."""
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(0)
    own = generator.uniform(0.3, 0.7, n_units)
    for method, less in (("elude", 0.0), ("random_split", 0.1)):
        for seed in (1, 2, 3):
            ms = own - less + generator.normal(0, 0.01, n_units)
            units = pd.DataFrame(
                {
                    "unit": np.arange(n_units),
                    "parent": np.arange(n_units),
                    "alive": np.ones(n_units, bool),
                    "ms_score": ms,
                }
            )
            store.record(
                CellRecord(
                    cell_id=f"{method}{seed}",
                    status="finished",
                    backbone="tiny",
                    site="fc",
                    method=method,
                    token_seed=seed,
                    init_seed=0,
                    n_units=n_units,
                    claims={"lossless": True},
                ),
                [
                    ScoreRecord(metric="ms_score", value=float(ms.mean()), unit="fraction"),
                    ScoreRecord(metric="r2", value=r2, unit="fraction"),
                    ScoreRecord(metric="alive_fraction", value=0.5 if wrong_alive else 1.0, unit="fraction"),
                    ScoreRecord(metric="k", value=seed + less, params={"only": method}),
                ],
                units,
            )
    return open_store(path)
