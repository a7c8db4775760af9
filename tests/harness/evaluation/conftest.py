"""Fixtures of the tests of evaluation from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from evaluations import METRICS, SETTINGS, SITE, Evaluate, collect

import harness


@pytest.fixture
def arguments(photo_folder: Path) -> dict[str, Any]:
    images = {"dataset": f"folder:{photo_folder}", "evaluation": 18}
    return {"backbone": "tiny_vit", "site": SITE, "metrics": METRICS, "settings": SETTINGS, "progress": False, **images}


@pytest.fixture
def evaluate(arguments: dict[str, Any], tmp_path: Path) -> Evaluate:
    def call(item: Any, **changes: Any) -> pd.DataFrame:
        return harness.evaluate(item, **{**arguments, "store": tmp_path / "r.duckdb", **changes})

    return call


@pytest.fixture
def width(arguments: dict[str, Any], tmp_path: Path) -> int:
    return collect(arguments, tmp_path)[0].d_out
