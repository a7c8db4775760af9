"""Queries of the site: the units that it shows, and the runs and cells behind its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.app.queries import Record, Records, records
from results.store import Store

_UNIT = """
    unit, parent, alive, nullif(ms_score, 'NaN') AS ms_score, nullif(ms_score_token_null, 'NaN') AS chance, fires,
    prefix_share, class_purity, top_image[:9] AS top_image, top_position[:9] AS top_position, top_value[:9] AS top_value
"""


#: MS score above the chance level of the unit's kind of token, as in the board's score; the MS score itself in older
#: stores, which have no such level.
_ABOVE_CHANCE = (
    "CASE WHEN ms_score_token_null IS NULL THEN ms_score WHEN ms_score_token_null < 1 "
    "THEN (ms_score - ms_score_token_null) / (1 - ms_score_token_null) END"
)
_SCORED = (
    f"WITH scored AS (SELECT *, nullif({_ABOVE_CHANCE}, 'NaN') AS score, "
    "unit IN (SELECT unit FROM unit_maps WHERE cell_id = ?) AS has_maps, "
    # Images are sorted by activation: if the last of nine is active, all are.
    "coalesce(top_value[least(9, len(top_value))] > 0 AND len(top_value) >= 9, false) AS fills_a_grid "
    "FROM units WHERE cell_id = ? AND alive AND NOT isnan(ms_score))"
)


def best_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the alive units of a cell with the highest MS scores above chance, best first.

    Units that are active on fewer than nine images come last: of two images, an MS score says little.
    """
    order = "fills_a_grid DESC, score DESC NULLS LAST, unit"
    sql = f"{_SCORED} SELECT score, {_UNIT} FROM scored ORDER BY {order} LIMIT ?"
    return _once(records(store.query(sql, [cell_id, cell_id, limit])))


def typical_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the alive units of a cell whose score is closest to the median, those with activation maps if any has."""
    sql = f"""
        {_SCORED}, near AS (
            SELECT unit FROM scored WHERE score IS NOT NULL
            ORDER BY has_maps DESC, abs(score - (SELECT median(score) FROM scored)), unit LIMIT ?
        ) SELECT score, {_UNIT} FROM scored WHERE unit IN (FROM near) ORDER BY score DESC, unit
    """
    return _once(records(store.query(sql, [cell_id, cell_id, limit])))


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
    return _once(records(frame))


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


def _once(units: Records) -> Records:
    """Return each unit once; only a damaged store has one twice."""
    return list({unit["unit"]: unit for unit in reversed(units)}.values())[::-1]


__all__ = ["Record", "best_units", "judged_units", "n_units", "shown_cell", "typical_units"]
