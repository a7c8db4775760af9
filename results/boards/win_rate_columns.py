"""Win rates as columns of a board.

A win rate belongs to a set of methods that one panel judged together, pooled over token seeds: it is not a property of
a cell, and adding a method changes the win rates of all. So it is kept with its tournament, and a board takes, for each
panel and its settings, the tournament that covers most of the board's cells (the newest of several). Each panel is a
column of its own, so that a proxy is never ranked with vision-language judges.

Needs only the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import AttachedScores, BoardKey

METRIC = "win_rate"


def attach_win_rates(cells: Sequence[Mapping[str, Any]], win_rates: Sequence[Mapping[str, Any]]) -> AttachedScores:
    """Return one score per method of the tournaments that the boards of `cells` show, attached to its first cell.

    Args:
        cells: rows of `Store.cells()`.
        win_rates: rows of `judgments.win_rates()`, in the order of judging.
    """
    finished = {cell["cell_id"]: cell for cell in cells if cell["status"] == "finished"}
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in win_rates:
        members.setdefault(row["tournament"], []).append(row)
    # A tournament belongs to one board; tournaments of one board share its layer and sets.
    best: dict[tuple[str, ...], tuple[int, str]] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for tournament, rows in members.items():
        finished_ids = [cell_id for row in rows for cell_id in row["cell_ids"] if cell_id in finished]
        if not finished_ids:
            continue
        head = finished[finished_ids[0]]
        # Cells are judged together if their fingerprints agree, whatever the data set is called.
        column: tuple[str, ...] = (
            *BoardKey.of(head)._replace(dataset=""),
            rows[0]["panel"],
            json.dumps(_params(rows[0]), sort_keys=True),
        )
        others.setdefault(column, []).append(tournament)
        if len(finished_ids) >= best.get(column, (0, ""))[0]:
            best[column] = (len(finished_ids), tournament)
    scores: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}
    for column, (_, tournament) in best.items():
        rows = members[tournament]
        visible_rows = [row for row in rows if any(cell_id in finished for cell_id in row["cell_ids"])]
        first = next(cell_id for row in visible_rows for cell_id in row["cell_ids"] if cell_id in finished)
        hidden_notes = [_hidden_note(members[other], rows) for other in others[column] if other != tournament]
        notes.setdefault(first, []).extend(dict.fromkeys(note for note in hidden_notes if note))
        for row in visible_rows:
            cell_id = next(cell_id for cell_id in row["cell_ids"] if cell_id in finished)
            scores.append(_score(row, cell_id))
            notes.setdefault(cell_id, []).extend(_notes(rows, visible_rows))
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


def _params(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row["settings"], "prompt": row["prompt_version"]}


def _score(row: Mapping[str, Any], cell_id: str) -> dict[str, Any]:
    params = _params(row)
    bounds = (row["ci_low"], row["ci_high"])
    return {
        "cell_id": cell_id,
        "metric": METRIC,
        "version": params.pop("version", 1),
        "params": params,
        "value": row["win_rate"],
        "uncertainty": None,
        "interval": None if None in bounds else bounds,
        "n": row["n"],
        "unit": "fraction",
        "direction": "higher",
        "evaluation_fingerprint": None,
        "panel": row["panel"],
    }


def _notes(rows: Sequence[Mapping[str, Any]], visible_rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = rows[0]
    kind, _, judges = head["panel"].partition(":")
    judge_kind = "a proxy panel of encoders, no language model" if kind == "proxy" else f"{kind} judges"
    ties = sum(row["ties"] or 0 for row in rows) // 2
    notes = [
        f"win_rate is judged by {judge_kind} ({judges.replace('+', ', ')}), pooled over token seeds and the other "
        f"{len(rows) - 1} methods; {ties} comparisons were ties and are left out."
    ]
    if head["n_missing"]:
        notes.append(f"win_rate of {head['panel']} is not complete: {head['n_missing']} replies are missing.")
    if len(visible_rows) < len(rows):
        notes.append(
            f"win_rate of {head['panel']} is over {len(rows)} methods, of which {len(visible_rows)} are shown."
        )
    return [*notes, *(head["notes"] or [])]
