"""Queries of judged pairs of units: one row per pair, with the votes of both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from results.app.queries import Records, records
from results.app.queries_judging import VOTES
from results.store import Store

# Filters of the pairs of a tournament.
FILTERS: Mapping[str, str] = {
    "all": "TRUE",
    "judges disagree": "NOT is_control AND votes_1 > 0 AND votes_2 > 0",
    "judges agree": "NOT is_control AND n_valid > 1 AND (votes_1 = n_valid OR votes_2 = n_valid)",
    "no winner": "NOT is_control AND wins_1 = wins_2",
    "controls (the same grid twice)": "is_control",
    "invalid or missing replies": "n_valid < n_judges",
}

# The first side is grid A of order 0, and grid B of order 1.
_PAIRS = """
, sides AS (
    SELECT *, "order" % 2 = 0 AS is_first, grid_a = grid_b AS is_same FROM decided
), pairs AS (
    SELECT pair_id,
           arg_min(if(is_first, cell_a, cell_b), "order") AS cell_1, arg_min(if(is_first, unit_a, unit_b), "order") AS
           unit_1, arg_min(if(is_first, grid_a, grid_b), "order") AS grid_1,
           arg_min(if(is_first, cell_b, cell_a), "order") AS cell_2, arg_min(if(is_first, unit_b, unit_a), "order") AS
           unit_2, arg_min(if(is_first, grid_b, grid_a), "order") AS grid_2,
           sum(if(is_first, n_a, n_b))::INTEGER AS votes_1, sum(if(is_first, n_b, n_a))::INTEGER AS votes_2,
           count(*) FILTER (consensus = if(is_first, 'A', 'B')) AS wins_1,
           count(*) FILTER (consensus = if(is_first, 'B', 'A')) AS wins_2,
           sum(n_valid)::INTEGER AS n_valid, sum(n_judges)::INTEGER AS n_judges, bool_and(is_same) AS is_control,
           min("order") AS first_order
    FROM sides GROUP BY pair_id
)
"""


def judged(
    store: Store,
    tournament: str,
    *,
    filter_name: str = "all",
    cells_a: list[str] | None = None,
    cells_b: list[str] | None = None,
    limit: int = 10,
    offset: int = 0,
) -> pd.DataFrame:
    """Return pairs of units with their votes over both orders, and `total`: their number without the limit.

    The order is that of a hash: the names of pairs begin with the methods, and a page should show several of them.

    Columns: pair_id, cell_1, unit_1, grid_1, cell_2, unit_2, grid_2, votes_1, votes_2, wins_1 and wins_2 (orders in
    which the panel chose this side), n_valid, n_judges, is_control, first_order. Only pairs that somebody was asked
    about and that pass one of `FILTERS`, with one of `cells_a` on either side and one of `cells_b` on the other; None
    stands for all cells.
    """
    # A list that is NULL contains everything.
    sides = (
        "coalesce(list_contains(?::VARCHAR[], cell_1), TRUE) AND coalesce(list_contains(?::VARCHAR[], cell_2), TRUE)"
    )
    sql = f"""
        {VOTES} {_PAIRS} SELECT *, count(*) OVER () AS total FROM pairs
        WHERE n_judges > 0 AND {FILTERS[filter_name]} AND ({sides} OR {sides})
        ORDER BY md5(pair_id), pair_id LIMIT ? OFFSET ?
    """
    return store.query(sql, [tournament, cells_a, cells_b, cells_b, cells_a, limit, offset])


def votes_of(store: Store, tournament: str, pair_ids: Sequence[str]) -> dict[str, Records]:
    """Return pair -> its judges in order of their names, each with the number of its votes for either side.

    Columns: judge, votes_1, votes_2. Of a panel that judges join freely, those who answered.
    """
    sql = f"""
        {VOTES} SELECT pair_id, judge, count(*) FILTER (answer = if("order" % 2 = 0, 'A', 'B')) AS votes_1,
        count(*) FILTER (answer = if("order" % 2 = 0, 'B', 'A')) AS votes_2
        FROM requests LEFT JOIN last USING (judge, prompt_version, grid_a, grid_b)
        WHERE pair_id IN (SELECT unnest(?::VARCHAR[])) AND (coalesce(replied, FALSE) OR NOT of_answers)
        GROUP BY pair_id, judge ORDER BY pair_id, judge
    """
    votes: dict[str, Records] = {}
    for row in records(store.query(sql, [tournament, list(pair_ids)])):
        votes.setdefault(row["pair_id"], []).append(row)
    return votes
