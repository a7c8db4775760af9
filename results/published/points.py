"""Published figures as points of a scatter plot, in the units of the store (fractions)."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from typing import NamedTuple

from results.published.tables import published_tables

#: Metric ids of the store, and beginnings of the columns of the published tables.
_METRICS = ("ms_score", "accuracy", "r2")


class Published(NamedTuple):
    """Published values of one method in one setting."""

    setting: str
    """backbone, layer and expansion factor"""
    method: str
    expansion_factor: float | None
    values: Mapping[str, float]
    """metric id -> value"""
    errors: Mapping[str, tuple[float, float]]
    """metric id -> the printed spread or interval (low, high), if there is one"""


@functools.lru_cache(maxsize=1)
def published_points() -> tuple[Published, ...]:
    """Return the rows of Tables 2 and 6, those of Table 2 with their win rates of Table 3."""
    rates = {(row["backbone"], row["method"]): row for row in _rows(3)}
    points = []
    for table in (2, 6):
        for row in _rows(table):
            layer = f", layer {row['layer_1idx']}" if row["layer_1idx"] else ""
            setting = f"{row['backbone']}{layer}, expansion factor {row['expansion_factor']} (Table {table})"
            values, errors = _numbers(row)
            rate = rates.get((row["backbone"], row["method"])) if table == 2 else None
            if rate:
                values["win_rate"] = float(rate["win_rate_pct"]) / 100
                errors["win_rate"] = (float(rate["ci95_low"]) / 100, float(rate["ci95_high"]) / 100)
            factor = None if row["method"] == "backbone only" else float(row["expansion_factor"])
            points.append(Published(setting, row["method"], factor, values, errors))
    return tuple(points)


def _numbers(row: Mapping[str, str]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    values: dict[str, float] = {}
    errors: dict[str, tuple[float, float]] = {}
    for metric in _METRICS:
        text, spread = row.get(f"{metric}_pct", ""), row.get(f"{metric}_std", "")
        if text:
            values[metric] = float(text) / 100
            if spread:
                errors[metric] = (values[metric] - float(spread) / 100, values[metric] + float(spread) / 100)
    return values, errors


def _rows(table: int) -> list[dict[str, str]]:
    with published_tables()[table].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
