"""Stores that are merged: what is compared of them, and conflicts between them."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from results.store.canonical import canonical_json
from results.store.labels import ADDED_METRICS
from results.store.records import DEVICE_UNITS, grouped, records_of
from results.store.store import Store

#: Beyond this relative difference two values are different measurements, unless two recorded environments explain it.
TOLERANCE = 1e-6


class Conflict(NamedTuple):
    """Same object with different content in two stores."""

    what: str
    """the cell, tournament, ... in words"""
    first: str
    """the store that came first"""
    second: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why} ({self.first} and {self.second})"


ScoreKey = tuple[str, int, str]
"""metric, version and hash of the parameters"""


class Source:
    """One of the stores to merge, with what is compared of it."""

    def __init__(self, number: int, path: Path, title: str) -> None:
        self.catalog = f"source_{number}"
        self.path = path
        self.title = title
        self.store = Store(path)
        self.cells = {cell["cell_id"]: cell for cell in records_of(self.store.cells())}
        environments = [cell["environment"] for cell in self.cells.values() if cell["environment"]]
        self.environments = list({canonical_json(environment): environment for environment in environments}.values())
        frame = self.store.query(
            "SELECT cell_id, metric, version, params_hash, coalesce(unit, '') AS unit, value FROM scores "
            "WHERE panel IS NULL AND NOT list_contains(?, metric)",
            [[*ADDED_METRICS]],
        )
        scores = [score for score in records_of(frame) if score["unit"] not in DEVICE_UNITS]
        self.scores = {
            cell_id: {(score["metric"], score["version"], score["params_hash"]): score for score in group}
            for cell_id, group in grouped(scores, lambda score: score["cell_id"]).items()
        }

    def values(self, cell_id: str, units: Collection[str] | None = None) -> dict[ScoreKey, float | None]:
        """Return the values of a cell's scores; `units`: only of scores in these units."""
        scores = self.scores.get(cell_id, {})
        return {key: score["value"] for key, score in scores.items() if units is None or score["unit"] in units}


def same(first: float | None, second: float | None, tolerance: float = TOLERANCE) -> bool:
    """Return whether two values are one measurement; missing and undefined ones equal their like."""
    first, second = (None if value is pd.NA else value for value in (first, second))
    if first is None or second is None:
        return first is second
    are_undefined = math.isnan(first) and math.isnan(second)
    return are_undefined or math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)


def time_of(moment: Any) -> float:
    """Return a time of a store in seconds; minus infinity if it is missing."""
    return pd.Timestamp(moment).timestamp() if moment is not None and not pd.isna(moment) else -math.inf
