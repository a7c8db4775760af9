"""Queries of cells, scores, units and images: SQL that returns only the rows that are shown.

Each function opens the store for one query. Queries of lists of units are in `queries_units.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.store import Store
from results.store.frames import records
from results.store.store import decoded

Record = Mapping[str, Any]
Records = list[dict[str, Any]]


def mapping(frame: pd.DataFrame) -> dict[str, Any]:
    """Return first column -> second column."""
    return dict(frame.itertuples(index=False, name=None))


def devices(store: Store) -> dict[str, str]:
    """Return cell id -> device and dtype it ran on, in words."""
    sql = "SELECT cell_id, concat_ws(' ', coalesce(device, 'not recorded'), dtype) FROM cells ORDER BY cell_id"
    return mapping(store.query(sql))


def cells(store: Store, cell_ids: Sequence[str]) -> Records:
    """Return all data of some cells except their scores, with the run that made them; JSON decoded."""
    sql = """
        SELECT c.*, r.code_revision, r.versions FROM cells c LEFT JOIN runs r USING (run_id)
        WHERE cell_id IN (SELECT unnest(?::VARCHAR[]))
        ORDER BY c.token_seed NULLS FIRST, c.init_seed NULLS FIRST, c.cell_id
    """
    return records(decoded(store.query(sql, [list(cell_ids)])))


def finished_cells(store: Store, cell_ids: Sequence[str]) -> Records:
    """Return the `cells` that have finished."""
    return [cell for cell in cells(store, cell_ids) if cell["status"] == "finished"]


def group_scores(store: Store, config_id: str, label: str) -> Records:
    """Return the group scores (of several cells together) of one configuration, JSON decoded."""
    sql = "SELECT * FROM group_scores WHERE config_id = ? AND label = ? ORDER BY metric, version, group_id"
    return records(decoded(store.query(sql, [config_id, label])))


def curves(store: Store, cell_ids: Sequence[str], points: int = 400) -> pd.DataFrame:
    """Return cell_id, series, step, value of the fits, thinned evenly to about `points` per series."""
    return store.query(
        "SELECT cell_id, series, step, value FROM (SELECT *, row_number() OVER ordered AS number, count(*) OVER "
        "(PARTITION BY cell_id, series) AS total FROM curves WHERE cell_id IN (SELECT unnest(?::VARCHAR[])) "
        "WINDOW ordered AS (PARTITION BY cell_id, series ORDER BY step)) "
        "WHERE (number - 1) % greatest(total // ?, 1) = 0 OR number = total ORDER BY series, cell_id, step",
        [list(cell_ids), points],
    )


def histogram(store: Store, cell_ids: Sequence[str], bins: int = 50) -> pd.DataFrame:
    """Return cell_id, bin, n: number of alive units of each cell by MS score, in `bins` bins from -1 to 1."""
    return store.query(
        "SELECT cell_id, greatest(0, least(floor((ms_score + 1) / 2 * ?), ? - 1))::INTEGER AS bin, count(*) AS n "
        "FROM units "
        "WHERE cell_id IN (SELECT unnest(?::VARCHAR[])) AND alive AND NOT isnan(ms_score) "
        "GROUP BY ALL ORDER BY cell_id, bin",
        [bins, bins, list(cell_ids)],
    )


def unit_by_number(store: Store, cell_id: str, unit: int) -> dict[str, Any] | None:
    """Return one unit of a cell with its lists, or None if there is no such unit."""
    sql = "SELECT * EXCLUDE (cell_id) FROM units WHERE cell_id = ? AND unit = ? LIMIT 1"
    frame = store.query(sql, [cell_id, int(unit)])
    return next(iter(records(frame)), None)


def siblings(store: Store, cell_id: str, parent: int, unit: int, limit: int = 12) -> Records:
    """Return the best units of a cell that are parts of one parent, with their lists, best first.

    The best has the highest MS score above its chance level, where this was measured. `unit` is included even if it is
    not among the best `limit`; `total` is the number of all such units.
    """
    sql = """
        SELECT *, count(*) OVER () AS total, row_number() OVER (ORDER BY coalesce(nullif(ms_score -
        ms_score_token_null, 'NaN'), nullif(ms_score, 'NaN')) DESC NULLS LAST, unit)
        AS number FROM units WHERE cell_id = ? AND parent = ? QUALIFY number <= ? OR unit = ? ORDER BY number
        LIMIT ?
    """
    return records(store.query(sql, [cell_id, int(parent), limit, int(unit), limit + 1]))


def runs(store: Store, limit: int = 200) -> Records:
    """Return the newest runs with their numbers of finished and failed cells and the time of the last record."""
    sql = """
        SELECT r.*, count(*) FILTER (c.status = 'finished') AS n_finished,
        count(*) FILTER (c.status = 'failed') AS n_failed,
        max(TRY(c.started_at + to_microseconds(TRY_CAST(coalesce(c.seconds, 0) * 1e6 AS BIGINT)))) AS last_at
        FROM runs r LEFT JOIN cells c USING (run_id) GROUP BY ALL ORDER BY r.started_at DESC, r.run_id LIMIT ?
    """
    return records(decoded(store.query(sql, [limit])))


def recent_cells(store: Store, run_id: str, limit: int = 100) -> Records:
    """Return the newest cells of a run."""
    sql = """
        SELECT cell_id, status, coalesce(backbone_title, backbone) AS backbone_title, site, label, token_seed,
        init_seed, seconds, n_units FROM cells WHERE run_id = ? ORDER BY started_at DESC NULLS LAST, cell_id LIMIT ?
    """
    return records(store.query(sql, [run_id, limit]))
