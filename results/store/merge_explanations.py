"""Explanations of units in stores that are merged: those of one cell and panel come from one store, with the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

from results.store.merge_sources import Conflict, Source, same
from results.store.records import records_of
from results.store.store import decoded

METRIC = "autointerp"


class Explained(NamedTuple):
    """Score of a cell by judges who explained its units, in one store."""

    source: Source
    cell_id: str
    params_hash: str
    """of judges, prompts and number of images"""
    params: Mapping[str, Any]
    n: int
    """number of units"""
    value: float | None
    replied: float
    """time of the last reply of its judges, in seconds"""


def choose_explanations(sources: Sequence[Source], prefer: str | None, conflicts: list[Conflict]) -> list[Explained]:
    """Return, of each cell and panel that several stores have explained, the score that is taken with all behind it.

    It is the one over more units. Another value over as many units is a conflict.
    """
    chosen: dict[tuple[str, str], Explained] = {}
    several: set[tuple[str, str]] = set()
    for source in sources:
        frame = source.store.query(
            "SELECT s.cell_id, s.params_hash, s.params, s.n, s.value, (SELECT epoch(max(replied_at)) FROM replies r "
            "WHERE list_contains(from_json(s.params->'judges', '[\"VARCHAR\"]'), r.judge)) AS replied FROM scores s "
            f"WHERE s.metric = '{METRIC}' ORDER BY s.cell_id, s.params_hash"
        )
        for row in records_of(decoded(frame)):
            key = row["cell_id"], row["params_hash"]
            score = Explained(source, *key, row["params"] or {}, row["n"] or 0, row["value"], row["replied"] or 0.0)
            other = chosen.setdefault(key, score)
            if other is score:
                continue
            several.add(key)
            if score.n > other.n:
                chosen[key] = score
            elif score.n == other.n and not same(score.value, other.value):
                why = f"{METRIC} is {other.value} and {score.value}"
                conflicts.append(Conflict(f"cell {key[0]}", other.source.title, source.title, why))
                if prefer == "newest" and score.replied > other.replied:
                    chosen[key] = score
    return [chosen[key] for key in sorted(several)]


def delete_others(opened: duckdb.DuckDBPyConnection, explained: Explained) -> tuple[list[Any], list[Any]]:
    """Delete what there is of a cell and panel, and return the parameters of :data:`SCORES` and :data:`ROWS`."""
    params = explained.params
    of_scores = [explained.cell_id, explained.params_hash]
    of_rows = [explained.cell_id, params.get("prompts"), params.get("images"), list(params.get("judges") or ())]
    opened.execute(f"DELETE FROM scores s WHERE {SCORES}", of_scores)
    opened.execute(f"DELETE FROM explanations s WHERE {ROWS}", of_rows)
    return of_scores, of_rows


#: Conditions of the rows `s` that belong to a score.
SCORES = f"starts_with(s.metric, '{METRIC}') AND s.cell_id = ? AND s.params_hash = ?"
ROWS = "s.cell_id = ? AND s.prompt_version = ? AND s.images = ? AND s.judge IN (SELECT unnest(?::VARCHAR[]))"
