"""Range over seeds: what is drawn for times and amounts of memory, in place of a 95 % interval.

They are skewed (the first run of a program is often the slowest) and positive. Student's t of two or three such values
reaches far beyond both ends, and below 0.
"""

from __future__ import annotations

from results.boards.board import Aggregate, Column
from results.store.records import DEVICE_UNITS

INTERVAL, RANGE = "95 % interval", "range over seeds"


def is_seed_range(column: Column) -> bool:
    """Return whether low and high of a column's values are the range over seeds."""
    return column.unit in DEVICE_UNITS


def spread_name(column: Column) -> str:
    """Return the name of what is drawn around a column's means."""
    return RANGE if is_seed_range(column) else INTERVAL


def seed_range(aggregate: Aggregate) -> tuple[float, float, float]:
    """Return the mean, the lowest and the highest value over seeds."""
    values = (aggregate.mean, *aggregate.values)
    return aggregate.mean, min(values), max(values)
