"""Flags, groups, errors and the front in every form of export."""

from __future__ import annotations

import io
import json
import re

import pandas as pd
import pytest
from flagged_board import Cells, flagged_board

from results.boards.board import Board, board_json
from results.export import exported
from results.export.front_points import whisker

FLAGS = {"copies": "collapsed", "broken net": "below floor", "guesses": "at chance", "single": "one seed"}


@pytest.fixture
def board() -> Board:
    return flagged_board()


def test_csv_and_parquet_have_flags_groups_and_total_errors(board: Board) -> None:
    frame = pd.read_csv(io.BytesIO(exported([board], "csv"))).set_index("label")
    assert {label: flags for label, flags in frame["flags"].items() if isinstance(flags, str)} == FLAGS
    assert (frame.loc["ghost", "group"], frame.loc["random atoms", "group"]) == ("virtual", "control")
    assert frame.loc["guesses", "family"] == "sae"
    assert frame.loc["good", "ms_score_total_error"] == pytest.approx((0.01**2 + 0.01**2 / 3) ** 0.5)
    assert frame.loc["good", "ms_score_n"] == 3 and frame.loc["good", "ms_score_n_observations"] == 102
    assert frame["ms_score_rank"].dropna().index.tolist() == ["good", "exact", "fair", "third", "ghost"]
    selected = pd.read_csv(io.BytesIO(exported([board], "csv", metrics=["r2"])))
    assert "r2_total_error" in selected and "ms_score_total_error" not in selected and "flags" in selected
    assert exported([board], "parquet")[:4] == b"PAR1"


def test_json_has_flags_with_their_sentences(board: Board) -> None:
    rows = {row["label"]: row for row in json.loads(json.dumps(board_json(board), allow_nan=False))["rows"]}
    assert {label: row["flags"][0]["name"] for label, row in rows.items() if row["flags"]} == FLAGS
    assert "99.00 % is above 97 %" in rows["copies"]["flags"][0]["sentence"]
    assert rows["good"]["metrics"]["ms_score"]["total_error"] == pytest.approx((0.01**2 + 0.01**2 / 3) ** 0.5)
    assert rows["good"]["floors"] == {"floor_mean_accuracy": 0.5, "floor_mean_agreement": 0.5}


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_tables_have_flags_beside_names_and_sentences_below(board: Board, form: str) -> None:
    text = exported([board], form).decode()
    plain = text.replace("{[}", "[").replace("{]}", "]").replace("\\[", "[").replace("\\]", "]").replace("\\%", "%")
    for label, flag in FLAGS.items():
        assert f"{label} [{flag}]" in plain and f"{flag}: {label}: " in plain
        row = next(line for line in plain.splitlines() if f"{label} [{flag}]" in line)
        assert " best" not in row and " second" not in row
    assert "61.00 ± 1.15 best" in plain.replace("$\\pm$", "±")
    assert "virtual: units are not part of the model" in plain
    assert "standard error of the mean" in plain and "99.00 % is above 97 %" in plain


def test_headings_of_row_groups_span_the_table(board: Board) -> None:
    assert "\\multicolumn{" in exported([board], "latex", metrics=["ms_score"]).decode()
    assert re.search(r"<tr><th colspan=4>virtual: ", exported([board], "html", metrics=["ms_score"]).decode())


def test_only_unflagged_methods_are_on_the_front_of_the_page(board: Board) -> None:
    page = exported([board], "html").decode()
    assert 'aria-label="Pareto front of R2 (%) and MS score (%)"' in page
    picture = page.partition("<svg")[2].partition("</svg>")[0]
    fills = dict(
        re.findall(
            r"<title>([\w ]+?)(?: \[[\w, ]+\])?: R2 \(%\)[^<]*</title>.*?fill: (#\w{6}); stroke", picture, flags=re.S
        )
    )
    # "good" has the best MS score, "exact" the best R2. The flagged ones would have been better.
    assert {label for label, fill in fills.items() if fill == "#0b6e4f"} == {"good", "exact"}
    assert {label for label, fill in fills.items() if fill == "#888888"} == {"fair", "third"}
    assert {label for label, fill in fills.items() if fill == "#ffffff"} == {*FLAGS, "random atoms", "backbone only"}
    assert "circles are flagged (see below the table), squares are controls." in page
    assert "95 % intervals" in page and "standard deviation" not in page


def test_a_page_of_flagged_rows_has_no_front() -> None:
    cells = Cells()
    for label, ms in (("a", 0.5), ("b", 0.6)):
        cells.record(label, [ms])
    page = exported([cells.board()], "html").decode()
    assert "No front: no method here is without a flag." in page and "#0b6e4f" not in page


def test_a_row_with_one_seed_has_no_whisker_and_a_share_has_wilsons() -> None:
    board = flagged_board()
    rows = {row.label: row for row in board.rows}
    (ms,), (accuracy,), (agreement,) = (board.columns_called([name]) for name in ("ms_score", "accuracy", "agreement"))
    assert whisker(rows["single"], ms) == (85.0, 85.0) and whisker(rows["good"], ms)[0] < 61
    low, high = whisker(rows["good"], accuracy)
    assert 80 - low > high - 80 > 0, "Wilson's interval of .8 reaches further down"
    assert whisker(rows["exact"], agreement) == (100.0, 100.0)
