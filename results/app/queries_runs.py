"""Queries of runs: the time they computed, and their failed cells."""

from __future__ import annotations

from results.app.queries import Records, mapping, records
from results.store import Store


def computed_seconds(store: Store) -> dict[str, float]:
    """Return run -> seconds of all its cells together."""
    return mapping(
        store.query(
            "SELECT run_id, sum(seconds) FROM cells WHERE run_id IS NOT NULL AND isfinite(seconds) GROUP BY run_id"
        )
    )


def failed_cells(store: Store, limit: int = 200) -> Records:
    """Return the newest failed cells with their errors and the command and time of their run."""
    sql = """
        SELECT cell_id, run_id, coalesce(backbone_title, backbone) AS backbone_title, site, label, token_seed,
        init_seed, c.seconds, error_type, error_message, traceback, command, r.started_at AS run_at
        FROM cells c LEFT JOIN runs r USING (run_id) WHERE c.status = 'failed'
        ORDER BY r.started_at DESC NULLS LAST, c.started_at DESC NULLS LAST, cell_id LIMIT ?
    """
    return records(store.query(sql, [limit]))
