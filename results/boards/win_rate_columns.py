"""Win rates as columns of a board.

A win rate belongs to a set of methods that one panel judged together, over all token seeds: it is not a property of
a cell, and adding a method changes the win rates of all. So it is kept with its tournament, and a board takes, for each
panel and its settings, the tournament that covers most of the board's cells (the newest of several). Each panel is a
column of its own, so that a proxy is never ranked with vision-language judges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.boards.board import AttachedScores, BoardKey
from results.boards.panel_at_chance import at_chance
from results.boards.panel_kind import is_people, is_proxy
from results.store.records import CONSENSUS, grouped, win_rate_version

METRIC = "win_rate"


class _BoardRow(NamedTuple):
    """Win rate of one method, and its finished cells on one board."""

    row: Mapping[str, Any]
    cell_ids: Sequence[str]


def attach_win_rates(cells: Sequence[Mapping[str, Any]], win_rates: Sequence[Mapping[str, Any]]) -> AttachedScores:
    """Return one score per method of the tournaments that the boards of `cells` show, attached to its first cell.

    Args:
        cells: rows of `Store.cells()`.
        win_rates: rows of `judgments.win_rates()`, in the order of judging.
    """
    finished = {cell["cell_id"]: cell for cell in cells if cell["status"] == "finished"}
    members = grouped(win_rates, lambda row: row["tournament"])
    # Board, panel and settings -> tournament -> its rows with finished cells on that board. Cells of several boards may
    # be judged together: only their fingerprints must agree, whatever the data set is called.
    columns: dict[tuple[BoardKey, str, str], dict[str, list[_BoardRow]]] = {}
    for tournament, rows in members.items():
        for row in rows:
            settings = json.dumps(_params(row), sort_keys=True)
            finished_ids = [cell_id for cell_id in row["cell_ids"] if cell_id in finished]
            for board, cell_ids in grouped(finished_ids, lambda cell_id: BoardKey.of(finished[cell_id])).items():
                tournaments = columns.setdefault((board, row["panel"], settings), {})
                tournaments.setdefault(tournament, []).append(_BoardRow(row, cell_ids))
    scores: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}
    for tournaments in columns.values():
        # Of several with as many cells, the newest: `max` returns the first.
        best = max(reversed(tournaments), key=lambda name: sum(len(row.cell_ids) for row in tournaments[name]))
        rows, visible_rows = members[best], tournaments[best]
        hidden_notes = [_hidden_note(members[other], rows) for other in tournaments if other != best]
        notes.setdefault(visible_rows[0].cell_ids[0], []).extend(filter(None, hidden_notes))
        for row, (cell_id, *_) in visible_rows:
            scores.append(_score(row, cell_id))
            notes.setdefault(cell_id, []).extend(_notes(rows, len(visible_rows)))
    return AttachedScores(scores, notes)


def _hidden_note(rows: Sequence[Mapping[str, Any]], visible_rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the note on a tournament that is not shown; nothing if the shown one has all of its methods."""
    visible = {(row["config_id"], row["label"]) for row in visible_rows}
    missing = [row["label"] for row in rows if (row["config_id"], row["label"]) not in visible]
    if not missing:
        return ""
    return (
        f"{len(missing)} more rows ({', '.join(missing)}) were judged by {rows[0]['panel']} in another tournament, "
        f"among {len(rows)} methods: win rates depend on the other competitors, so theirs are not in this column."
    )


def interval_of(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the 95 % interval that is printed: for new units, or for the judged ones if there is none."""
    for low, high in ((row.get("new_low"), row.get("new_high")), (row["ci_low"], row["ci_high"])):
        if low is not None and high is not None:
            return float(low), float(high)
    return None


def _params(row: Mapping[str, Any]) -> dict[str, Any]:
    # The kind of panel decides whose majority counts, and is part of the column anyway.
    settings = {name: value for name, value in (row["settings"] or {}).items() if name != CONSENSUS}
    return {**settings, "prompt": row["prompt_version"], "version": win_rate_version(row["settings"])}


def _score(row: Mapping[str, Any], cell_id: str) -> dict[str, Any]:
    params = _params(row)
    return {
        "cell_id": cell_id,
        "metric": METRIC,
        "version": params.pop("version"),
        "params": params,
        "value": row["win_rate"],
        "interval": interval_of(row),
        "n": row["n"],
        "unit": "fraction",
        "direction": "higher",
        "panel": row["panel"],
        "panel_agreement": _finite(row.get("agreement")),
        "panel_at_chance": at_chance(row["panel"], row.get("health"), row.get("agreement"), row.get("n_shared")),
        **dict.fromkeys(("uncertainty", "evaluation_fingerprint")),
    }


def _finite(value: float | None) -> float | None:
    """Return a number, or None for a missing or undefined one."""
    return value if value is not None and math.isfinite(value) else None


def _notes(rows: Sequence[Mapping[str, Any]], n_visible: int) -> list[str]:
    head = rows[0]
    panel = head["panel"]
    kind, _, judges = panel.partition(":")
    judge_kind = "a proxy panel of encoders, no language model" if is_proxy(panel) else f"{kind} judges"
    judged_by = "people" if is_people(panel) else f"{judge_kind} ({judges.replace('+', ', ')})"
    agreement = head.get("agreement")
    agree = "" if agreement is None or math.isnan(agreement) else f", whose agreement (alpha) is {agreement:.2f}"
    version = _params(head)["version"]
    weighting = "the mean over" if version > 1 else "pooled over"
    undecided = sum(row["ties"] or 0 for row in rows) // 2
    notes = [
        f"win_rate is judged by {judged_by}{agree}; it is {weighting} the other "
        f"{len(rows) - 1} methods, all token seeds together; {undecided} comparisons without a consensus are left out.",
        f"win_rate of {panel}: {_interval_note(rows)}",
    ]
    if reason := at_chance(panel, head.get("health"), agreement, head.get("n_shared")):
        notes.insert(0, f"win_rate of {panel} says nothing, and nothing is ranked or marked by it: {reason}.")
    if version < 2:
        notes.append(
            f"win_rate of {panel} was scored by an older definition: opponents with more comparisons weigh more, and "
            "one valid vote may decide. `harness judge --rescore` scores the stored replies again."
        )
    n_missing_meetings = _missing_meetings(rows)
    if n_missing_meetings:
        notes.append(
            f"win_rate of {panel}: {n_missing_meetings} pairs of methods have no decided comparison, so the means are "
            "over different opponents."
        )
    if head["n_missing"]:
        what, missing = ("comparison", "no answer yet") if is_people(panel) else ("question", "no reply yet")
        has = f"1 {what} has" if head["n_missing"] == 1 else f"{head['n_missing']} {what}s have"
        notes.append(f"win_rate of {panel} is not complete: {has} {missing}.")
    if n_visible < len(rows):
        notes.append(f"win_rate of {panel} is over {len(rows)} methods, of which {n_visible} are shown.")
    return [*notes, *(head["notes"] or [])]


def _interval_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return which interval is printed."""
    rated = [row for row in rows if row["win_rate"] is not None]
    without = [row["label"] for row in rated if row.get("new_low") is None or row.get("new_high") is None]
    if len(without) == len(rated):
        return "intervals and ranks are for the judged units only; for new units they are wider."
    units = [row["n_units"] for row in rated if row.get("n_units") is not None]
    count = " to ".join(str(number) for number in sorted({min(units, default=0), max(units, default=0)}))
    note = f"intervals and ranks are for new units of each method, from {count} judged units per method"
    if without:
        note += f"; that of {', '.join(without)} is for the judged units only, which are too few"
    return f"{note}. They are not for other fits, images or judges."


def _missing_meetings(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many pairs of methods have no decided comparison; 0 if it is not known."""
    met = rows[0].get("n_meetings")
    n_rated = sum(row["win_rate"] is not None for row in rows)
    return 0 if met is None else max(n_rated * (n_rated - 1) // 2 - int(met), 0)
