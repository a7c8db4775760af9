"""Effects of steering that were kept in a results store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from results.store.records import row_of
from results.store.rows import insert_rows

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class SteeringRecord:
    """Effect of one intervention; the columns are explained in schema.sql."""

    cell_id: str
    steering: str
    kind: str
    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    steered_at: datetime


def record_steering(store: Store, record: SteeringRecord) -> None:
    """Write one effect, replacing that of the same settings.

    Raises:
        StoreError: the store cannot be written.
    """
    with store.writing() as opened:
        opened.execute("DELETE FROM steerings WHERE cell_id = ? AND steering = ?", [record.cell_id, record.steering])
        insert_rows(opened, "steerings", [row_of(record)])


def steerings(store: Store, cell_ids: Sequence[str]) -> pd.DataFrame:
    """Return one row per kept effect of these cells, the newest first.

    Raises:
        StoreError: the store cannot be read.
    """
    from results.store.store import decoded

    return decoded(
        store.query(
            "SELECT * FROM steerings WHERE cell_id IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY steered_at DESC, cell_id, steering",
            [list(cell_ids)],
        )
    )
