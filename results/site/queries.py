"""Queries of the site: the units that it shows, and the runs and cells behind its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.app.queries import Record, Records, mapping, records
from results.store import Store

_UNIT = """
    unit, parent, alive, nullif(ms_score, 'NaN') AS ms_score, nullif(ms_score_token_null, 'NaN') AS chance, fires,
    prefix_share, class_purity, top_image[:9] AS top_image, top_position[:9] AS top_position, top_value[:9] AS top_value
"""


def best_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the alive units of a cell with the highest MS scores, best first."""
    frame = store.query(
        f"SELECT {_UNIT} FROM units u WHERE cell_id = ? AND alive AND NOT isnan(ms_score) "
        "ORDER BY ms_score DESC, unit LIMIT ?",
        [cell_id, limit],
    )
    return records(frame)


def typical_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the alive units of a cell whose MS score is closest to the median, best first."""
    frame = store.query(
        "WITH scored AS (SELECT * FROM units WHERE cell_id = ? AND alive AND NOT isnan(ms_score)), "
        "near AS (SELECT unit FROM scored ORDER BY abs(ms_score - (SELECT median(ms_score) FROM scored)), unit LIMIT ?) "
        f"SELECT {_UNIT} FROM scored WHERE unit IN (FROM near) ORDER BY ms_score DESC, unit",
        [cell_id, limit],
    )
    return records(frame)


def judged_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the units of a cell that judges compared most often, with the number of comparisons."""
    frame = store.query(
        "WITH shown AS (SELECT unit_a AS unit FROM comparisons WHERE cell_a = ? "
        "UNION ALL SELECT unit_b FROM comparisons WHERE cell_b = ?), "
        "counted AS (SELECT unit, count(*) AS n_judged FROM shown GROUP BY unit ORDER BY n_judged DESC, unit LIMIT ?) "
        f"SELECT n_judged, {_UNIT} FROM units JOIN counted USING (unit) WHERE cell_id = ? "
        "ORDER BY n_judged DESC, unit LIMIT ?",
        [cell_id, cell_id, limit, cell_id, limit],
    )
    return records(frame)


def shown_cell(store: Store, cell_ids: Sequence[str]) -> str | None:
    """Return the finished cell of a row whose units are shown: one that judges saw, else the first with maps."""
    frame = store.query(
        "SELECT cell_id FROM cells c WHERE status = 'finished' AND cell_id IN (SELECT unnest(?::VARCHAR[])) "
        "AND EXISTS (SELECT 1 FROM units u WHERE u.cell_id = c.cell_id AND alive) "
        "ORDER BY EXISTS (SELECT 1 FROM comparisons k WHERE k.cell_a = c.cell_id OR k.cell_b = c.cell_id) DESC, "
        "EXISTS (SELECT 1 FROM unit_maps m WHERE m.cell_id = c.cell_id) DESC, "
        "token_seed NULLS LAST, init_seed NULLS LAST, cell_id LIMIT 1",
        [list(cell_ids)],
    )
    return None if frame.empty else str(frame["cell_id"][0])


def n_units(store: Store, cell_id: str) -> dict[str, Any]:
    """Return the numbers of units of a cell: n, n_alive, n_scored."""
    frame = store.query(
        "SELECT count(*) AS n, count(*) FILTER (alive) AS n_alive, "
        "count(*) FILTER (alive AND NOT isnan(ms_score)) AS n_scored FROM units WHERE cell_id = ?",
        [cell_id],
    )
    return records(frame)[0]


def run_devices(store: Store) -> dict[str, str]:
    """Return run id -> device in words."""
    return mapping(store.query("SELECT run_id, coalesce(device, '') FROM runs"))


__all__ = ["Record", "best_units", "judged_units", "n_units", "run_devices", "shown_cell", "typical_units"]
