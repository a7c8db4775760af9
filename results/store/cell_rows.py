"""Rows of one cell in all tables, written in one transaction, and the rule for a cell that is already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from results.errors import StoreError
from results.store import frames
from results.store.outcomes import ImageOutcome
from results.store.records import CellRecord, ScoreRecord, grouped, row_of
from results.store.rows import delete_rows, insert_rows, one_of

CELL_TABLES = (
    *("units", "unit_maps", "curves", "outcomes", "explanations", "labellings", "unit_labels", "steerings"),
    *("scores", "cells"),
)
"""Tables with a column cell_id; `cells` is the last one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CellVersion(NamedTuple):
    """Result of a cell that a store has: how it ended, and which computation it is of."""

    status: str
    """``finished`` or ``failed``"""
    run_id: str | None
    started_us: int | None
    """start of the computation, microseconds since 1970"""

    def is_newer_than(self, other: CellVersion) -> bool:
        """Return whether this computation began later."""
        return (self.started_us or 0) > (other.started_us or 0)

    def is_same_computation(self, other: CellVersion) -> bool:
        """Return whether both are results of one computation."""
        return self[1:] == other[1:]


@dataclass(frozen=True)
class CellRows:
    """Content of one cell, ready to be inserted."""

    cell: Mapping[str, Any]
    scores: list[dict[str, Any]] = field(default_factory=list)
    units: pd.DataFrame | None = None
    """columns of the table without cell_id"""
    curves: pd.DataFrame | None = None
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    unit_maps: pd.DataFrame | None = None

    @classmethod
    def of(
        cls,
        cell: CellRecord,
        scores: Sequence[ScoreRecord] = (),
        units: pd.DataFrame | None = None,
        curves: pd.DataFrame | None = None,
        outcomes: Mapping[str, ImageOutcome] | None = None,
        unit_maps: pd.DataFrame | None = None,
    ) -> CellRows:
        """Return the rows of records.

        Raises:
            StoreError: two scores with the same key, or a value that cannot be stored.
        """
        row = row_of(cell)
        cell_id = row["cell_id"]
        score_rows = [{"cell_id": cell_id, **row_of(score), "params_hash": score.params_hash} for score in scores]
        _refuse_twins(score_rows)
        outcome_rows = [
            {"cell_id": cell_id, "metric": metric, **outcome.packed()} for metric, outcome in (outcomes or {}).items()
        ]
        return cls(row, score_rows, units, curves, outcome_rows, unit_maps)

    @property
    def cell_id(self) -> str:
        return str(self.cell["cell_id"])

    @property
    def version(self) -> CellVersion:
        started = self.cell.get("started_at")
        microseconds = None if started is None else (started - _EPOCH) // timedelta(microseconds=1)
        return CellVersion(str(self.cell["status"]), self.cell.get("run_id"), microseconds)

    def write(self, opened: duckdb.DuckDBPyConnection) -> None:
        """Replace the cell's content in an open store, within the caller's transaction.

        Raises:
            StoreError: an unknown column of a frame.
        """
        delete_rows(opened, CELL_TABLES, "cell_id", [self.cell_id])
        insert_rows(opened, "cells", [dict(self.cell)])
        insert_rows(opened, "scores", self.scores)
        for table, frame in (("units", self.units), ("unit_maps", self.unit_maps), ("curves", self.curves)):
            if frame is not None:
                frames.insert(opened, table, frame, {"cell_id": self.cell_id})
        insert_rows(opened, "outcomes", self.outcomes)


def versions_of(opened: duckdb.DuckDBPyConnection, cell_ids: Sequence[str]) -> dict[str, CellVersion]:
    """Return the version of each of these cells that an open store has."""
    condition, values = one_of("cell_id", cell_ids)
    rows = opened.execute(
        f"SELECT cell_id, status, run_id, epoch_us(started_at) FROM cells WHERE {condition}", values
    ).fetchall()
    return {str(cell_id): CellVersion(*version) for cell_id, *version in rows}


def _refuse_twins(rows: list[dict[str, Any]]) -> None:
    for group in grouped(rows, itemgetter("metric", "version", "params_hash")).values():
        if len(group) > 1:
            row = group[-1]
            raise StoreError(
                f"The cell has two scores {row['metric']}@{row['version']} with the parameters {row['params']}; "
                "a metric that gives several values needs a metric id or parameters for each."
            )
