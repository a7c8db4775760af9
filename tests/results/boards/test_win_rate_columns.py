"""Choice of the tournament that a board's column shows, and notes on the others."""

from __future__ import annotations

from typing import Any

from results.boards.board import BoardKey
from results.boards.win_rate_columns import attach_win_rates


def cell(method: str, factor: int) -> dict[str, Any]:
    return {
        "cell_id": f"{method}{factor}",
        "status": "finished",
        "label": method,
        **dict.fromkeys(BoardKey._fields, "same"),
    }


def rates(tournament: str, cells: list[dict[str, Any]], panel: str = "vllm:a") -> list[dict[str, Any]]:
    return [
        {
            "tournament": tournament,
            "config_id": own["cell_id"],
            "label": own["label"],
            "cell_ids": [own["cell_id"]],
            "panel": panel,
            "settings": {"pairs": 50},
            "prompt_version": "1",
            **{"win_rate": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 100, "ties": 0, "n_missing": 0, "notes": None},
        }
        for own in cells
    ]


def test_expansion_factors_judged_apart_are_said_to_be() -> None:
    eight = [cell(method, 8) for method in ("elude", "topk", "identity")]
    four = [cell("elude", 4), cell("topk", 4), eight[2]]
    found = attach_win_rates([*eight, *four[:2]], [*rates("of 8", eight), *rates("of 4", four)])
    # As many methods in both: the one judged last stands in the column.
    assert {score["cell_id"] for score in found.scores} == {"elude4", "topk4", "identity8"}
    notes = found.notes_of([*eight, *four])
    (told,) = [note for note in notes if "another tournament" in note]
    assert told.startswith("2 more rows (elude, topk) were judged by vllm:a") and "among 3 methods" in told


def test_a_smaller_tournament_of_methods_that_are_shown_is_no_news() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk", "identity")]
    found = attach_win_rates(cells, [*rates("all", cells), *rates("two", cells[:2]), *rates("p", cells[:2], "proxy:b")])
    assert len(found.scores) == 3 + 2
    assert not any("another tournament" in note for note in found.notes_of(cells))
