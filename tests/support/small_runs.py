"""Small suites on a tiny backbone, and what they leave in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from harness.progress import Silent
from harness.suites import Suite, parse_suite
from results import open_store
from results.store.records import DEVICE_UNITS


def suite_of(folder: Path, *names: str, backbone: str = "tiny_vit", **changes: Any) -> Suite:
    configs: dict[str, dict[str, Any]] = {
        "elude": {"top_k": 200, "min_cluster_size": 15},
        "topk_sae": {"expansion_factor": 2, "k": 4, "epochs": 2, "batch_size": 64},
        "random_split": {"parts": 2},
    }
    values: dict[str, Any] = {
        "name": "small",
        "data": {"dataset": f"folder:{folder}", "evaluation": 18},
        "seeds": {"tokens": [1, 2]},
        "probing": {"crops": 2, "tokens_per_image": 8},
        "evaluation": {"top_images": 6, "batch_size": 5},
        "targets": [{"backbone": backbone}],
        "methods": [{"name": name, "config": configs.get(name, {})} for name in names],
    }
    return parse_suite({**values, **changes})


def few_metrics(folder: Path) -> Suite:
    """Four cells without training, with few metrics."""
    return suite_of(
        folder,
        "identity",
        "random_split",
        evaluation={"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2"]},
        probing={"crops": 1, "tokens_per_image": 4},
    )


def scores(store: Path) -> pd.DataFrame:
    """The scores that do not depend on the machine and the moment: neither times nor memory."""
    frame = open_store(store).scores()
    frame = frame[~frame["unit"].isin(DEVICE_UNITS)]
    columns = ["cell_id", "method", "token_seed", "metric", "value", "uncertainty", "n"]
    return frame[columns].sort_values(columns[:4]).reset_index(drop=True)


class Stop(Silent):
    """Presses Ctrl-C after some cells."""

    def __init__(self, after: int) -> None:
        self.left = after

    def cell(self, title: str, outcome: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
