"""Concepts that judges gave to units, with the scores of the cells that follow from them, in a results store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results.store.records import ScoreRecord, row_of
from results.store.rows import insert_rows

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplanationRecord:
    """Concept of one unit by one judge; the columns are explained in schema.sql."""

    cell_id: str
    unit: int
    judge: str
    prompt_version: str
    images: int
    concept: str | None
    n_positive: int = 0
    n_negative: int = 0
    true_positives: int = 0
    true_negatives: int = 0
    balanced_accuracy: float | None = None
    control: float | None = None
    control_unit: int | None = None


#: Rows of one INSERT statement.
_CHUNK = 1000


def record_explanations(
    store: Store,
    cell_id: str,
    judges: Sequence[str],
    prompt_version: str,
    images: int,
    explanations: Sequence[ExplanationRecord],
    scores: Sequence[ScoreRecord],
    *,
    replaces: Sequence[ScoreRecord],
) -> None:
    """Write what judges found out about a cell in one transaction, replacing what they had of it so.

    Args:
        store: store that has the cell.
        cell_id: the cell.
        judges: ids of the judges whose rows are replaced.
        prompt_version: of both prompts; with ``images``, what is replaced.
        images: most held-out images of each kind.
        explanations: the new rows, of this cell.
        scores: scores of the cell; none if it has no score.
        replaces: scores whose metric, version, parameters and panel are those to delete first.

    Raises:
        StoreError: the store cannot be written.
    """
    rows = [row_of(record) for record in explanations]
    score_rows = [{"cell_id": cell_id, **row_of(score), "params_hash": score.params_hash} for score in scores]
    with store.writing() as opened:
        opened.execute(
            "DELETE FROM explanations WHERE cell_id = ? AND prompt_version = ? AND images = ? "
            "AND judge IN (SELECT unnest(?::VARCHAR[]))",
            [cell_id, prompt_version, images, list(judges)],
        )
        for score in replaces:
            opened.execute(
                "DELETE FROM scores WHERE cell_id = ? AND metric = ? AND version = ? AND params_hash = ?",
                [cell_id, score.metric, score.version, score.params_hash],
            )
        for start in range(0, len(rows), _CHUNK):
            insert_rows(opened, "explanations", rows[start : start + _CHUNK])
        insert_rows(opened, "scores", score_rows)


def explanations(store: Store, cell_ids: Sequence[str], units: Sequence[int] | None = None) -> pd.DataFrame:
    """Return one row per unit of these cells and judge, ordered by cell, unit and judge; `units`: only these.

    Raises:
        StoreError: the store cannot be read.
    """
    chosen, values = "", []
    if units is not None:
        chosen, values = "AND unit IN (SELECT unnest(?::INTEGER[])) ", [[int(unit) for unit in units]]
    return store.query(
        f"SELECT * FROM explanations WHERE cell_id IN (SELECT unnest(?::VARCHAR[])) {chosen}"
        "ORDER BY cell_id, unit, judge, prompt_version, images",
        [list(cell_ids), *values],
    )
