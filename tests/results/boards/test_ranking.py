"""Ranks and marks within groups, and rows without a rank."""

from __future__ import annotations

import pytest
from flagged_board import Cells, flagged_board, fraction

from results.boards.board import Board


@pytest.fixture
def board() -> Board:
    return flagged_board()


def ranks(board: Board, key: str) -> dict[str, tuple[int | None, str | None]]:
    return {row.label: (row.metrics[key].rank, row.metrics[key].mark) for row in board.rows if key in row.metrics}


def test_groups_follow_each_other_and_are_sorted_within(board: Board) -> None:
    assert [(row.label, row.group) for row in board.rows][-4:] == [
        ("guesses", "method"),
        ("backbone only", "control"),
        ("random atoms", "control"),
        ("ghost", "virtual"),
    ]
    assert [row.label for row in board.rows if row.group == "method"][:3] == ["copies", "single", "broken net"]


def test_flagged_rows_and_controls_have_no_rank_and_take_none(board: Board) -> None:
    by_ms = ranks(board, "ms_score")
    assert {label: value for label, value in by_ms.items() if value != (None, None)} == {
        "good": (1, "best"),
        "exact": (2, "second"),
        "fair": (3, None),
        "third": (4, None),
        "ghost": (1, None),  # alone in its group
    }


def test_a_lossless_method_is_not_ranked_in_what_follows_from_it(board: Board) -> None:
    assert ranks(board, "r2")["exact"] == (None, None)
    assert ranks(board, "r2")["good"] == (1, "best") and ranks(board, "r2")["fair"] == (2, "second")
    assert ranks(board, "agreement")["exact"] == (None, None)
    assert ranks(board, "ms_score")["exact"] == (2, "second")
    cells = Cells()
    for label, share in (("exact", 1.0), ("a", 0.7), ("b", 0.6)):
        score = fraction("agreement_recovered", share)
        cells.record(label, [0.5, 0.5], claims={"lossless": label == "exact"}, extra=[score])
    assert ranks(cells.board(), "agreement_recovered") == {"exact": (None, None), "a": (1, "best"), "b": (2, None)}


def test_virtual_methods_are_ranked_among_themselves() -> None:
    cells = Cells()
    for label, virtual, ms in (("a", False, 0.5), ("b", False, 0.6), ("c", True, 0.7), ("d", True, 0.8)):
        cells.record(label, [ms, ms], claims={"virtual": virtual})
    expected = {"b": (1, "best"), "a": (2, None), "d": (1, "best"), "c": (2, None)}
    assert ranks(cells.board(), "ms_score") == expected


def test_a_board_of_single_seeds_has_no_mark() -> None:
    cells = Cells()
    for label, ms in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        cells.record(label, [ms])
    values = [aggregate for row in cells.board().rows for aggregate in row.metrics.values()]
    assert values and all(value.mark is None and value.rank is None for value in values)


def test_the_second_of_two_is_the_last_and_has_no_mark() -> None:
    cells = Cells()
    for label, ms in (("a", 0.6), ("b", 0.5)):
        cells.record(label, [ms, ms])
    assert [mark for _, mark in ranks(cells.board(), "ms_score").values()] == ["best", None]
    cells.record("c", [0.1, 0.1])
    assert [mark for _, mark in ranks(cells.board(), "ms_score").values()] == ["best", "second", None]
