"""Queries of tournaments, comparisons and replies."""

from __future__ import annotations

from typing import Any

from results.app.queries import Records, mapping, records
from results.store import Store
from results.store.records import CONSENSUS, OF_ANSWERS
from results.store.store import decoded

# One row per presentation with its votes; the consensus is the answer of more than half of the judges, as in
# harness.stats, or of those who answered, of panels that judges join freely. Tournaments of the first version of the
# win rate were decided by more valid votes.
VOTES = f"""
WITH requests AS (
    SELECT c.* EXCLUDE (tournament), t.prompt_version,
           coalesce((t.settings->>'{CONSENSUS}') = '{OF_ANSWERS}', FALSE) AS of_answers,
           coalesce(TRY_CAST(t.settings->>'version' AS INTEGER), 1) AS version,
           unnest(from_json(t.judges, '["VARCHAR"]')) AS judge
    FROM comparisons c JOIN tournaments t USING (tournament) WHERE c.tournament = ?
), last AS (
    SELECT judge, prompt_version, grid_a, grid_b, answer, raw IS NOT NULL AS replied FROM replies
    QUALIFY row_number() OVER (PARTITION BY judge, prompt_version, grid_a, grid_b ORDER BY attempt DESC) = 1
), votes AS (
    SELECT pair_id, "order", cell_a, unit_a, grid_a, cell_b, unit_b, grid_b, version,
           count(*) FILTER (replied OR NOT of_answers) AS n_judges,
           count(*) FILTER (answer = 'A') AS n_a, count(*) FILTER (answer = 'B') AS n_b, count(answer) AS n_valid
    FROM requests LEFT JOIN last USING (judge, prompt_version, grid_a, grid_b) GROUP BY ALL
), decided AS (
    SELECT *, CASE WHEN n_a > CASE WHEN version < 2 THEN n_b ELSE n_judges / 2 END THEN 'A'
                   WHEN n_b > CASE WHEN version < 2 THEN n_a ELSE n_judges / 2 END THEN 'B' END AS consensus FROM votes
)
"""


def tournaments(store: Store) -> Records:
    """Return the tournaments, newest first, JSON decoded, with their subject."""
    sql = """
        SELECT t.*, c.backbone_title, c.site FROM tournaments t LEFT JOIN
        (SELECT w.tournament, any_value(coalesce(cells.backbone_title, cells.backbone)) AS backbone_title,
        any_value(cells.site) AS site FROM win_rates w JOIN cells ON
        list_contains(from_json(w.cell_ids, '["VARCHAR"]'), cells.cell_id) GROUP BY w.tournament) c
        USING (tournament) ORDER BY t.judged_at DESC, t.tournament
    """
    return records(decoded(store.query(sql)))


def win_rates(store: Store, tournament: str) -> Records:
    """Return the methods of a tournament, best first."""
    sql = "SELECT * FROM win_rates WHERE tournament = ? ORDER BY rank NULLS LAST, label"
    return records(decoded(store.query(sql, [tournament])))


def presentation(store: Store, tournament: str, pair_id: str, order: int) -> dict[str, Any] | None:
    """Return one presentation with its votes, or None if there is none."""
    sql = f'{VOTES} SELECT * FROM decided WHERE pair_id = ? AND "order" = ?'
    return next(iter(records(store.query(sql, [tournament, pair_id, order]))), None)


def replies(store: Store, tournament: str, grid_a: str, grid_b: str) -> Records:
    """Return each judge's last reply in a tournament on two grids in this order; a missing reply is a row of NULL."""
    sql = """
        WITH requests AS (SELECT unnest(from_json(judges, '["VARCHAR"]')) AS judge, prompt_version
        FROM tournaments WHERE tournament = ?)
        SELECT judge, r.* EXCLUDE (judge, prompt_version) FROM requests LEFT JOIN
        (SELECT * FROM replies WHERE grid_a = ? AND grid_b = ?
        QUALIFY row_number() OVER (PARTITION BY judge, prompt_version ORDER BY attempt DESC) = 1) r
        USING (judge, prompt_version) ORDER BY judge
    """
    return records(store.query(sql, [tournament, grid_a, grid_b]))


def labels(store: Store, tournament: str) -> dict[str, str]:
    """Return cell id -> label of the cells of a tournament, also before it is scored."""
    compared = """SELECT DISTINCT cell_id, label FROM cells WHERE cell_id IN (SELECT cell_a FROM comparisons WHERE
        tournament = ? UNION SELECT cell_b FROM comparisons WHERE tournament = ?)"""
    scored = """SELECT DISTINCT unnest(from_json(cell_ids, '["VARCHAR"]')), label FROM win_rates WHERE tournament = ?"""
    labels = mapping(store.query(compared, [tournament, tournament]))
    return {**labels, **mapping(store.query(scored, [tournament]))}


def judged_pairs(
    store: Store, cells_a: list[str], cells_b: list[str], *, worst: bool = False, limit: int = 5
) -> Records:
    """Return unit pairs of two methods by the votes for one of them over both orders, most for (or against) it first.

    Only the newest tournament that contains both is used. Columns: cell_a, unit_a (of the first method), cell_b,
    unit_b, votes_a, votes_b, tournament, pair_id.
    """
    sides = "list_contains(?::VARCHAR[], {}) AND list_contains(?::VARCHAR[], {})"
    newest = store.query(
        "SELECT tournament FROM tournaments t WHERE EXISTS (SELECT 1 FROM comparisons c WHERE "
        f"c.tournament = t.tournament AND {sides.format('cell_a', 'cell_b')}) ORDER BY judged_at DESC LIMIT 1",
        [cells_a, cells_b],
    )
    if newest.empty:
        return []
    tournament = newest["tournament"][0]
    order = "votes_b - votes_a" if worst else "votes_a - votes_b"
    sql = f"""
        {VOTES}, both_orders AS (
            SELECT pair_id, cell_a, unit_a, cell_b, unit_b, n_a, n_b FROM decided
            WHERE {sides.format("cell_a", "cell_b")} UNION ALL
            SELECT pair_id, cell_b, unit_b, cell_a, unit_a, n_b, n_a FROM decided
            WHERE {sides.format("cell_b", "cell_a")}
        )
        SELECT cell_a, unit_a, cell_b, unit_b, sum(n_a)::INTEGER AS votes_a, sum(n_b)::INTEGER AS votes_b, pair_id,
        ? AS tournament FROM both_orders GROUP BY ALL HAVING {order} > 0 ORDER BY {order} DESC, pair_id LIMIT ?
    """
    return records(store.query(sql, [tournament, cells_a, cells_b, cells_a, cells_b, tournament, limit]))


def unit_comparisons(store: Store, cell_id: str, unit: int, limit: int = 20) -> Records:
    """Return the presentations of a unit in its newest tournaments with their votes, and `side`: "A" or "B"."""
    shows_unit = "(cell_a = ? AND unit_a = ?) OR (cell_b = ? AND unit_b = ?)"
    tournament_ids = store.query(
        f"SELECT DISTINCT tournament, judged_at FROM comparisons JOIN tournaments USING (tournament) "
        f"WHERE {shows_unit} ORDER BY judged_at DESC, tournament LIMIT 3",
        [cell_id, unit] * 2,
    )["tournament"]
    rows: Records = []
    for tournament in tournament_ids:
        sql = f"""
            {VOTES} SELECT *, ? AS tournament, CASE WHEN cell_a = ? AND unit_a = ? THEN 'A' ELSE 'B' END AS side
            FROM decided WHERE {shows_unit} ORDER BY pair_id, "order" LIMIT ?
        """
        params = [tournament, tournament, cell_id, unit, *[cell_id, unit] * 2, limit - len(rows)]
        rows += records(store.query(sql, params))
    return rows


def backbone_titles(store: Store) -> dict[str, str]:
    """Return backbone -> its title, for judges that are backbones."""
    return mapping(
        store.query("SELECT backbone, max(backbone_title) FROM cells WHERE backbone_title IS NOT NULL GROUP BY 1")
    )
