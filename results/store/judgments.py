"""Replies of judges and the tournaments computed from them, in a results store.

Replies are raw data and are never deleted; a tournament is computed from some of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from results.store import frames
from results.store.records import bindable, row_of
from results.store.rows import delete_rows, insert_rows
from results.store.store import decoded

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store

COMPARISON_COLUMNS = ("pair_id", "order", "cell_a", "unit_a", "grid_a", "cell_b", "unit_b", "grid_b")
WIN_RATE_COLUMNS = (
    *("config_id", "label", "cell_ids", "win_rate", "ci_low", "ci_high", "n", "wins", "ties"),
    *("rank", "rank_low", "rank_high", "strength", "new_low", "new_high", "n_units"),
)
#: `finish_reason` of a valid reply without an answer: neither grid is better.
TIE = "tie"
# The reply that counts is that of the last attempt.
_LAST = (
    "SELECT * FROM replies QUALIFY row_number() OVER "
    "(PARTITION BY judge, prompt_version, grid_a, grid_b ORDER BY attempt DESC) = 1"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplyRecord:
    """One reply of one judge; the columns are explained in schema.sql."""

    judge: str
    prompt_version: str
    grid_a: str
    grid_b: str
    attempt: int
    answer: str | None
    raw: str | None
    reasoning_a: str | None = None
    reasoning_b: str | None = None
    problem: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    replied_at: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TournamentRecord:
    """Set of cells judged together; the columns are explained in schema.sql."""

    tournament: str
    panel: str
    judges: Sequence[str]
    prompt_version: str
    settings: Mapping[str, Any]
    judged_at: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))
    n_comparisons: int = 0
    n_ties: int = 0
    n_missing: int = 0
    agreement: float | None = None
    n_shared: int | None = None
    health: Sequence[Mapping[str, Any]] = ()
    pairwise: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()


def record_replies(store: Store, replies: Sequence[ReplyRecord]) -> None:
    """Write replies in one transaction; a reply replaces the one to the same question and attempt.

    Raises:
        StoreError: the store cannot be written.
    """
    import pandas as pd

    if not replies:
        return
    # Bound one by one, thousands of replies would take longer than the judging.
    frame = pd.DataFrame([row_of(reply) for reply in replies], dtype=object)
    columns = ", ".join(f'"{name}"' for name in frame.columns)
    with store.writing() as opened:
        opened.register("incoming", frame)
        opened.execute(f"INSERT OR REPLACE INTO replies ({columns}) SELECT {columns} FROM incoming")


def last_replies(store: Store, judge: str, prompt_version: str) -> pd.DataFrame:
    """Return the last reply to each question of one judge: grid_a, grid_b, attempt, answer, came, cut_off."""
    return store.query(
        "SELECT grid_a, grid_b, attempt, answer, raw IS NOT NULL AS came, "
        "coalesce(finish_reason, '') = 'length' AS cut_off "
        f"FROM ({_LAST}) WHERE judge = ? AND prompt_version = ?",
        [judge, prompt_version],
    )


def record_tournament(
    store: Store, tournament: TournamentRecord, win_rates: pd.DataFrame, comparisons: pd.DataFrame | None = None
) -> None:
    """Write a tournament with its win rates in one transaction, replacing its previous ones.

    Args:
        win_rates: the columns of `WIN_RATE_COLUMNS`; `cell_ids` a list. A missing column is stored as NULL.
        comparisons: the columns of `COMPARISON_COLUMNS`; None keeps the existing ones.

    Raises:
        StoreError: an unknown column, or the store cannot be written.
    """
    rows = [
        {"tournament": tournament.tournament, **{name: bindable(row.get(name)) for name in WIN_RATE_COLUMNS}}
        for row in win_rates.to_dict("records")
    ]
    with store.writing() as opened:
        delete_rows(opened, ("tournaments", "win_rates"), "tournament", [tournament.tournament])
        insert_rows(opened, "tournaments", [row_of(tournament)])
        insert_rows(opened, "win_rates", rows)
        if comparisons is not None:
            delete_rows(opened, ["comparisons"], "tournament", [tournament.tournament])
            frames.insert(opened, "comparisons", comparisons, {"tournament": tournament.tournament})


def answers_by_judge(store: Store, tournament: str) -> pd.DataFrame:
    """Return each judge with replies to questions of a tournament: judge, n (questions answered), ties (of these).

    Judges of other tournaments with the same version of the prompt are included.
    """
    return store.query(
        "WITH asked AS (SELECT DISTINCT grid_a, grid_b, t.prompt_version FROM comparisons c "
        "JOIN tournaments t USING (tournament) WHERE c.tournament = ?) "
        "SELECT judge, count(*) AS n, count(*) FILTER (answer IS NULL AND coalesce(finish_reason, '') = "
        f"'{TIE}') AS ties FROM ({_LAST}) JOIN asked USING (grid_a, grid_b, prompt_version) "
        "WHERE raw IS NOT NULL GROUP BY judge ORDER BY judge",
        [tournament],
    )


def record_judges(store: Store, tournament: str, judges: Sequence[str]) -> None:
    """Write the judges of a stored tournament if they have changed, as those of a panel that judges join freely do.

    Raises:
        StoreError: the store cannot be written.
    """
    frame = tournaments(store)
    stored = frame["judges"][frame["tournament"] == tournament]
    if len(stored) and list(stored.iloc[0]) != list(judges):
        with store.writing() as opened:
            opened.execute("UPDATE tournaments SET judges = ? WHERE tournament = ?", [bindable(judges), tournament])


def tournaments(store: Store) -> pd.DataFrame:
    """Return one row per tournament, in the order of judging, JSON columns decoded."""
    return decoded(store.query("SELECT * FROM tournaments ORDER BY judged_at, tournament"))


def win_rates(store: Store) -> pd.DataFrame:
    """Return one row per method of each tournament, with what the tournament's own row says about its panel.

    `n_meetings` is the number of pairs of methods with a decided comparison; NULL if it was not stored.
    """
    return decoded(
        store.query(
            "WITH met AS (SELECT tournament, count(*) // 2 AS n_meetings FROM "
            '(SELECT tournament, unnest(from_json(pairwise, \'[{"n": "BIGINT"}]\')) AS m FROM tournaments) '
            "WHERE m.n > 0 GROUP BY tournament) "
            "SELECT w.*, t.panel, t.prompt_version, t.settings, t.judged_at, t.n_missing, t.agreement, t.n_shared, "
            "t.notes, t.health, met.n_meetings FROM win_rates w JOIN tournaments t USING (tournament) "
            "LEFT JOIN met USING (tournament) "
            "ORDER BY t.judged_at, tournament, w.rank NULLS LAST, w.label"
        )
    )


def judgments(store: Store, tournament: str) -> pd.DataFrame:
    """Return the input of `harness.stats`, one row per judge and presentation of a tournament.

    Columns: pair_id, cell_a, unit_a, parent_a (the neuron that unit_a is a part of; NULL: none), cell_b, unit_b,
    parent_b, order, judge, answer (None: a tie, invalid, or no reply), replied (true if one came), tie (true if the
    reply says that neither grid is better), attempt (of the reply; NULL if none came to the first). A judge that has
    not replied yet has a row, too.
    """
    return store.query(
        "WITH asked AS (SELECT c.*, unnest(from_json(t.judges, '[\"VARCHAR\"]')) AS judge, t.prompt_version "
        "FROM comparisons c JOIN tournaments t USING (tournament) WHERE c.tournament = ?), "
        f"last AS ({_LAST}) "
        "SELECT a.pair_id, a.cell_a, a.unit_a, ua.parent AS parent_a, a.cell_b, a.unit_b, ub.parent AS parent_b, "
        'a."order", a.judge, r.answer, r.raw IS NOT NULL AS replied, '
        f"r.raw IS NOT NULL AND r.answer IS NULL AND coalesce(r.finish_reason, '') = '{TIE}' AS tie, "
        "CASE WHEN r.raw IS NOT NULL OR r.attempt > 1 THEN r.attempt END AS attempt FROM asked a "
        "LEFT JOIN units ua ON ua.cell_id = a.cell_a AND ua.unit = a.unit_a "
        "LEFT JOIN units ub ON ub.cell_id = a.cell_b AND ub.unit = a.unit_b "
        "LEFT JOIN last r ON r.judge = a.judge AND r.prompt_version = a.prompt_version "
        "AND r.grid_a = a.grid_a AND r.grid_b = a.grid_b "
        'ORDER BY a.pair_id, a."order", a.judge',
        [tournament],
    )


def comparisons(store: Store, tournament: str) -> pd.DataFrame:
    """Return the comparisons shown in a tournament: the columns of `COMPARISON_COLUMNS`."""
    return store.query(
        'SELECT * EXCLUDE (tournament) FROM comparisons WHERE tournament = ? ORDER BY pair_id, "order"', [tournament]
    )
