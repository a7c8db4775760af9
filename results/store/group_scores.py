"""Scores of several cells together, such as stability over seeds, in a results store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from results.errors import StoreError
from results.store.canonical import short_hash
from results.store.records import Measurement, row_of
from results.store.rows import insert_rows
from results.store.store import decoded

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store


def group_id_of(cell_ids: Sequence[str], varies: str) -> str:
    """Return the id of a set of cells that differ in ``varies`` ("init_seed", "token_seed")."""
    return short_hash([varies, sorted(cell_ids)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupScoreRecord(Measurement):
    """One measurement of several cells; the columns are explained in schema.sql.

    Raises:
        StoreError: fewer than two cells, or an unknown direction.
    """

    group_id: str
    config_id: str
    label: str
    cell_ids: Sequence[str]
    measured_at: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if len(set(self.cell_ids)) < 2:
            raise StoreError(f"The group score {self.metric} is of {len(set(self.cell_ids))} cell; it needs two.")
        super().__post_init__()


def record_group_scores(store: Store, records: Sequence[GroupScoreRecord]) -> None:
    """Write group scores in one transaction, each replacing those of the same group, metric and version.

    Raises:
        StoreError: the store cannot be written.
    """
    if not records:
        return
    rows = [row_of(record) for record in records]
    with store.writing() as opened:
        for row in rows:
            opened.execute(
                "DELETE FROM group_scores WHERE group_id = ? AND metric = ? AND version = ?",
                [row["group_id"], row["metric"], row["version"]],
            )
        insert_rows(opened, "group_scores", rows)


def group_scores(store: Store) -> pd.DataFrame:
    """Return one row per group score, in the order of measurement, JSON columns decoded."""
    return decoded(store.query("SELECT * FROM group_scores ORDER BY measured_at, group_id, metric, version"))
