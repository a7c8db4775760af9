"""Choice of the tournament that a board's column shows, and notes on the others."""

from __future__ import annotations

from typing import Any

from results.boards.board import BoardKey
from results.boards.win_rate_columns import attach_win_rates


def cell(method: str, factor: int, **changes: str) -> dict[str, Any]:
    return {
        "cell_id": f"{method}{factor}",
        "status": "finished",
        "label": method,
        **dict.fromkeys(BoardKey._fields, "same"),
        **changes,
    }


def rates(tournament: str, cells: list[dict[str, Any]], panel: str = "vllm:a") -> list[dict[str, Any]]:
    return [
        {
            "tournament": tournament,
            "config_id": cell_record["cell_id"],
            "label": cell_record["label"],
            "cell_ids": [cell_record["cell_id"]],
            "panel": panel,
            "settings": {"pairs": 50, "version": 2},
            "prompt_version": "1",
            **{"win_rate": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 100, "ties": 0, "n_missing": 0, "notes": None},
            **{"new_low": 0.3, "new_high": 0.7, "n_units": 48, "agreement": 0.235, "n_meetings": None},
        }
        for cell_record in cells
    ]


def test_expansion_factors_judged_apart_are_said_to_be() -> None:
    eight = [cell(method, 8) for method in ("elude", "topk", "identity")]
    four = [cell("elude", 4), cell("topk", 4), eight[2]]
    attached = attach_win_rates([*eight, *four[:2]], [*rates("of 8", eight), *rates("of 4", four)])
    # As many methods in both: the one judged last stands in the column.
    assert {score["cell_id"] for score in attached.scores} == {"elude4", "topk4", "identity8"}
    notes = attached.notes_of([*eight, *four])
    (told,) = [note for note in notes if "another tournament" in note]
    assert told.startswith("2 more rows (elude, topk) were judged by vllm:a") and "among 3 methods" in told


def test_a_smaller_tournament_of_methods_that_are_shown_is_no_news() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk", "identity")]
    attached = attach_win_rates(
        cells, [*rates("all", cells), *rates("two", cells[:2]), *rates("p", cells[:2], "proxy:b")]
    )
    assert len(attached.scores) == 3 + 2
    assert not any("another tournament" in note for note in attached.notes_of(cells))


def test_boards_that_differ_only_in_the_data_set_s_name_have_a_tournament_each() -> None:
    boards = [
        [cell(method, factor, dataset=name) for method in ("elude", "topk")] for factor, name in ((4, "a"), (8, "b"))
    ]
    win_rates = [*rates("of a", boards[0]), *rates("of b", boards[1])]
    attached = attach_win_rates([*boards[0], *boards[1]], win_rates)
    assert {score["cell_id"] for score in attached.scores} == {"elude4", "topk4", "elude8", "topk8"}
    for cells in boards:
        assert not any("another tournament" in note for note in attached.notes_of(cells))


def test_a_tournament_of_cells_of_two_boards_is_shown_on_both() -> None:
    first, second = cell("elude", 4, dataset="a"), cell("elude", 8, dataset="b")
    (pooled,) = rates("of both", [first])
    attached = attach_win_rates([first, second], [pooled | {"cell_ids": ["elude4", "elude8"]}])
    assert [score["cell_id"] for score in attached.scores] == ["elude4", "elude8"]


def test_the_interval_for_new_units_is_printed_and_the_note_says_so_beside_the_agreement() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk", "identity")]
    rows = rates("t", cells)
    rows[0]["n_units"] = 120
    attached = attach_win_rates(cells, rows)
    assert [score["interval"] for score in attached.scores] == [(0.3, 0.7)] * 3
    assert [score["version"] for score in attached.scores] == [2] * 3
    first, second, *rest = attached.notes_of(cells)
    assert "whose agreement (alpha) is 0.23" in first or "whose agreement (alpha) is 0.24" in first
    assert "mean over the other 2 methods" in first and "comparisons without a consensus" in first
    assert "for new units of each method, from 48 to 120 judged units per method" in second and not rest


def test_without_named_units_the_note_says_that_the_interval_is_for_the_judged_ones() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk", "identity")]
    nothing = {"new_low": None, "new_high": None, "n_units": None, "agreement": None, "settings": {"pairs": 50}}
    attached = attach_win_rates(cells, [row | nothing for row in rates("t", cells)])
    assert [score["interval"] for score in attached.scores] == [(0.4, 0.6)] * 3
    notes = attached.notes_of(cells)
    assert "alpha" not in notes[0] and "pooled over the other 2" in notes[0]
    assert "for the judged units only" in notes[1] and "older definition" in notes[2]
    one = rates("t", cells)
    one[1] |= {"new_low": None, "new_high": None, "n_units": 1}
    attached = attach_win_rates(cells, one)
    assert [score["interval"] for score in attached.scores] == [(0.3, 0.7), (0.4, 0.6), (0.3, 0.7)]
    assert "that of topk is for the judged units only" in attached.notes_of(cells)[1]


def test_pairs_of_methods_without_a_decided_comparison_are_counted_in_a_note() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk", "identity")]
    for n_meetings, is_said in ((3, False), (2, True)):
        attached = attach_win_rates(cells, [row | {"n_meetings": n_meetings} for row in rates("t", cells)])
        said = [note for note in attached.notes_of(cells) if "no decided comparison" in note]
        assert bool(said) is is_said and all("1 pairs of methods" in note for note in said)


def test_a_column_of_a_panel_at_chance_says_why() -> None:
    cells = [cell(method, 8) for method in ("elude", "topk")]
    judged = {"judge": "vllm/a", "n": 40, "n_swaps": 20, "swap_consistency": 0.5}
    rows = [row | {"health": [judged]} for row in rates("t", cells)]
    attached = attach_win_rates(cells, rows)
    assert all("its only judge does not" in score["panel_at_chance"] for score in attached.scores)
    assert attached.notes_of(cells)[0].startswith("win_rate of vllm:a says nothing, and nothing is ranked or marked")
    sound = [row | {"health": [judged | {"swap_consistency": 1.0}]} for row in rates("t", cells)]
    assert not any(score["panel_at_chance"] for score in attach_win_rates(cells, sound).scores)
