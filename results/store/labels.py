"""Concept labels of units in a results store, with the scores of the cells that follow from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from results.store import frames
from results.store.records import ScoreRecord, records_of, row_of
from results.store.rows import insert_rows

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store

#: Metrics that `harness label` adds to a cell, the agreement of two scorers included.
LABEL_METRICS = ("labelled_share", "distinct_labels", "label_agreement")

#: Metrics that are added to a cell after it was measured, without a panel.
ADDED_METRICS = (*LABEL_METRICS, "steering_effect", "steering_gain", "steering_collateral", "steering_change")

#: Largest p-value of a label that counts. By chance, this share of the units has one.
LEVEL = 0.05

#: Columns of the frame of labels that :func:`record_labels` is given.
COLUMNS = ("unit", "rank", "label", "score", "null_score", "p_value")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabellingRecord:
    """Labels of one cell's units by one scorer; the columns are explained in schema.sql."""

    cell_id: str
    labelling: str
    scorer: str
    version: int
    settings: Mapping[str, Any]
    n_units: int
    n_images: int
    labelled_at: datetime


def record_labels(
    store: Store, labelling: LabellingRecord, labels: pd.DataFrame, scores: Sequence[ScoreRecord]
) -> None:
    """Write the labels of a cell's units in one transaction, replacing those of the same labelling.

    Args:
        store: store that has the cell.
        labelling: scorer and settings.
        labels: one row per unit and rank, with the columns :data:`COLUMNS`.
        scores: scores of the cell; they replace those of the same metric, version and parameters.

    Raises:
        StoreError: the store cannot be written.
    """
    key = [labelling.cell_id, labelling.labelling]
    with store.writing() as opened:
        for table in ("labellings", "unit_labels"):
            opened.execute(f"DELETE FROM {table} WHERE cell_id = ? AND labelling = ?", key)
        insert_rows(opened, "labellings", [row_of(labelling)])
        frames.insert(opened, "unit_labels", labels[[*COLUMNS]], {"cell_id": key[0], "labelling": key[1]})
        _replace_scores(opened, labelling.cell_id, scores)


def record_cell_scores(store: Store, cell_id: str, scores: Sequence[ScoreRecord]) -> None:
    """Add scores to a cell that has been measured before, replacing those of the same metric, version and parameters.

    Raises:
        StoreError: the store cannot be written.
    """
    with store.writing() as opened:
        _replace_scores(opened, cell_id, scores)


def _replace_scores(opened: Any, cell_id: str, scores: Sequence[ScoreRecord]) -> None:
    for score in scores:
        opened.execute(
            "DELETE FROM scores WHERE cell_id = ? AND metric = ? AND version = ? AND params_hash = ?",
            [cell_id, score.metric, score.version, score.params_hash],
        )
    insert_rows(
        opened,
        "scores",
        [{"cell_id": cell_id, **row_of(score), "params_hash": score.params_hash} for score in scores],
    )


def labellings(store: Store, cell_ids: Sequence[str]) -> pd.DataFrame:
    """Return one row per labelling of these cells, the newest first.

    Raises:
        StoreError: the store cannot be read.
    """
    from results.store.store import decoded

    return decoded(
        store.query(
            "SELECT * FROM labellings WHERE cell_id IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY labelled_at DESC, cell_id, labelling",
            [list(cell_ids)],
        )
    )


def all_labels(store: Store) -> pd.DataFrame:
    """Return one row per label of all units and labellings, with the columns of the cell that identify it.

    Raises:
        StoreError: the store cannot be read.
    """
    return store.query(
        "SELECT c.suite, c.backbone, c.site, c.method, c.label AS method_label, c.config_id, c.token_seed, "
        "c.init_seed, u.cell_id, l.scorer, l.version, u.labelling, l.labelled_at, u.unit, u.rank, u.label, u.score, "
        "u.null_score, u.p_value FROM unit_labels u JOIN labellings l USING (cell_id, labelling) JOIN cells c "
        "USING (cell_id) ORDER BY c.started_at, u.cell_id, l.scorer, l.labelled_at, u.labelling, u.unit, u.rank"
    )


def preferred_labelling(store: Store, cell_id: str) -> Mapping[str, Any] | None:
    """Return the row of the labelling that is shown by default: the newest, one by class names last; None without any.

    Raises:
        StoreError: the store cannot be read.
    """
    rows = records_of(labellings(store, [cell_id]))
    return min(rows, key=lambda row: row["scorer"] == "classes", default=None)


def unit_labels(
    store: Store, cell_id: str, labelling: str | None = None, units: Sequence[int] | None = None, *, most: int = 5
) -> pd.DataFrame:
    """Return the labels of a cell's units, ordered by scorer, unit and rank, with the column ``scorer``.

    Args:
        store: the store.
        cell_id: the cell.
        labelling: only these labels; default: the newest of each scorer.
        units: only these units; default: all.
        most: largest rank.

    Raises:
        StoreError: the store cannot be read.
    """
    chosen, values = "", []
    if units is not None:
        chosen, values = "AND u.unit IN (SELECT unnest(?::INTEGER[])) ", [[int(unit) for unit in units]]
    return store.query(
        "SELECT l.scorer, u.* FROM unit_labels u JOIN labellings l USING (cell_id, labelling) "
        "WHERE u.cell_id = ? AND u.rank <= ? AND (u.labelling = ? OR (?::VARCHAR IS NULL AND u.labelling = ("
        "SELECT n.labelling FROM labellings n WHERE n.cell_id = u.cell_id AND n.scorer = l.scorer "
        f"ORDER BY n.labelled_at DESC, n.labelling LIMIT 1))) {chosen}"
        "ORDER BY l.scorer, u.unit, u.rank",
        [cell_id, most, labelling, labelling, *values],
    )
