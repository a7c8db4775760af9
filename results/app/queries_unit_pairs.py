"""Queries of the page Compare: which neurons gained and lost between two cells that split the same layer."""

from __future__ import annotations

from results.app.queries import Records, records
from results.store import Store


def has_chance(store: Store, cells: tuple[str, str]) -> bool:
    """Return True if both cells have the MS score of random images, by which units at CLS and at patches compare."""
    frame = store.query(
        "SELECT count(DISTINCT cell_id) AS n FROM units WHERE cell_id IN (?, ?) AND alive AND NOT isnan(ms_score) "
        "AND NOT isnan(ms_score_token_null)",
        list(cells),
    )
    return bool(frame["n"][0] == 2)


def parents_compared(
    store: Store, cells: tuple[str, str], *, above_chance: bool, worst: bool = False, limit: int = 5
) -> Records:
    """Return parents sorted by the difference between two cells of the mean score of their alive sub-units.

    Columns: parent, mean_a, mean_b, n_a, n_b, difference (a minus b), and the best sub-unit of each: best_a, best_b.
    Only differences in favour of a are returned, or in favour of b if `worst`.

    Args:
        cells: ids of a and b.
        above_chance: the score is the MS score minus its chance level, else the MS score itself.
        worst: largest losses first.
        limit: rows at most.
    """
    score = "ms_score - ms_score_token_null" if above_chance else "ms_score"
    side = f"""
        SELECT parent, avg(score) AS mean, count(*) AS n, arg_max(unit, score) AS best FROM (
            SELECT unit, parent, {score} AS score FROM units WHERE cell_id = ? AND alive AND parent IS NOT NULL
        ) WHERE isfinite(score) GROUP BY parent
    """
    sql = f"""
        WITH a AS ({side}), b AS ({side}) SELECT parent, a.mean AS mean_a, b.mean AS mean_b, a.n AS n_a, b.n AS n_b,
        a.best AS best_a, b.best AS best_b, a.mean - b.mean AS difference FROM a JOIN b USING (parent)
        WHERE difference {"< 0" if worst else "> 0"} ORDER BY difference {"ASC" if worst else "DESC"}, parent LIMIT ?
    """
    return records(store.query(sql, [*cells, limit]))
