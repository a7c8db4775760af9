"""Text of values, flags and signs, as the terminal and all tables print them."""

from __future__ import annotations

import pytest
from flagged_board import Cells, flagged_board, fraction

from results.boards.board import Board, Column, Row
from results.boards.build import render_text
from results.boards.by import tables_by
from results.boards.value_text import value_text


@pytest.fixture
def board() -> Board:
    return flagged_board()


@pytest.fixture
def cells() -> Cells:
    return Cells()


def value(board: Board, label: str, key: str) -> str:
    return value_text(*row_and_column(board, label, key))


def row_and_column(board: Board, label: str, key: str) -> tuple[Row, Column]:
    (row,) = [row for row in board.rows if row.label == label]
    (column,) = [column for column in board.columns if column.key == key]
    return row, column


def test_the_error_of_the_images_is_not_hidden_by_equal_seeds(cells: Cells) -> None:
    cells.record("m", [0.5, 0.5, 0.5], accuracy=0.74)
    board = cells.board()
    assert value(board, "m", "accuracy") == "74.00 ± 4.00"
    # Neither seeds nor units say anything: no error rather than ± 0.00.
    assert value(board, "m", "expansion_factor") == "2.000"


def test_one_seed_without_an_error_has_no_sign(cells: Cells) -> None:
    cells.record("m", [0.5], error=None)
    board = cells.board()
    assert value(board, "m", "ms_score") == "50.00"


def test_a_value_that_lacks_a_seed_says_so(cells: Cells) -> None:
    cells.record("m", [0.5, 0.6, 0.7])
    cells.record("m", [0.5, 0.6], extra=[fraction("sparse_probe", 0.5)])
    board = cells.board()
    assert value(board, "m", "sparse_probe") == "50.00 n=2" and "n=" not in value(board, "m", "ms_score")
    text = render_text(board, 160)
    assert "n= behind a value that is over other than these" in text
    assert tables_by([board], "label", ["sparse_probe"])[0].rows[0][-1] == "50.00 n=2"


def test_marks_are_words(board: Board) -> None:
    assert value(board, "good", "ms_score") == "61.00 ± 1.15 best"
    assert value(board, "exact", "ms_score") == "58.33 ± 1.05 second"
    assert value(board, "copies", "ms_score") == "91.00 ± 1.15"
    assert value(board, "exact", "r2") == "100.00 ± 4.00"


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_terminal_says_who_is_flagged_and_why(board: Board, width: int) -> None:
    text = render_text(board, width)
    lines = text.splitlines()
    for label, flag in (
        ("copies", "collapsed"),
        ("broken net", "below floor"),
        ("guesses", "at chance"),
        ("single", "one seed"),
    ):
        rows = [line for line in lines if line.startswith(f"{label} [{flag}]")]
        assert rows and not any("best" in row or "second" in row for row in rows)
        assert any(line.startswith(f"{flag}: {label}: ") for line in lines)
    flat = " ".join(text.split())
    assert "copies: mean overlap with the nearest unit 99.00 % is above 97 % and mean cosine" in flat
    assert "accuracy 50.00 % is not above the 50.00 % of mean ablation" in flat
    assert "MS score minus that of random atoms, a random control with as many units, is 0.00 [" in flat
    assert "lossless: exact: not ranked in R2, accuracy, agreement, which their losslessness determines" in flat


def test_row_groups_have_headings_and_columns_have_groups(board: Board) -> None:
    lines = render_text(board, 160, details=False).splitlines()
    controls = lines.index("-- controls: for comparison, not ranked")
    virtual = lines.index("-- virtual: units are not part of the model, ranked apart")
    assert [line.split("  ")[0] for line in lines[controls + 1 : virtual]] == ["backbone only", "random atoms"]
    assert lines[virtual + 1].startswith("ghost")
    groups, header = lines[2], lines[3]
    assert groups.split() == ["interpretability", "faithfulness", "cost"]
    assert groups.index("interpretability") == header.index("units")
    # Headings are right-aligned, the group's name starts with the column.
    assert groups.index("faithfulness") <= header.index("R2 (%) ↑")


def test_numbers_of_observations_are_in_a_column_or_a_line(board: Board) -> None:
    text = render_text(board, 200)
    assert "accuracy: of the network with the reconstructed layer; over 100 images" in text
    row = next(line for line in text.splitlines() if line.startswith("good"))
    assert row.split()[1:3] == ["3", "102"]  # seeds, units (101, 102 and 103)
    assert "units: units with an MS score, per cell" in text


def test_signs_that_do_not_occur_are_not_explained(cells: Cells) -> None:
    cells.record("m", [0.5], error=None, accuracy=None, agreement=None, r2=None)
    text = render_text(cells.board(), 200)
    assert "±" not in text and "[low, high]" not in text and "best, second" not in text and "lossless" not in text


def test_tables_by_have_errors_and_flags_but_no_marks(board: Board) -> None:
    tables = tables_by([board], "label", ["ms_score"])
    by_title = {table.title: table for table in tables}
    copies = by_title["label: copies"]
    assert copies.rows == [["copies [collapsed]", "vit", "fc", "photos", "3", "91.00 ± 1.15"]]
    assert any(note.startswith("collapsed: copies: ") for note in copies.notes)
    assert by_title["label: good"].rows[0][-1] == "61.00 ± 1.15"
    # Signs are explained once, below the last table.
    assert [any(note.startswith("±") for note in table.notes) for table in tables] == [False] * (len(tables) - 1) + [
        True
    ]
