"""Weighted scores of the boards of a store: they do not depend on other rows, and say what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from flagged_board import Cells, flagged_cells
from flagged_store import write
from hostile_texts import hostile_texts

from results import ScoreRecord, leaderboard, open_store
from results.boards.weights import parsed_weights
from results.reports.weighted_score import BoardScores, board_scores, frame, percent, share_text, table, table_json


def scores_in(path: Path, cells: Cells, text: str) -> list[Any]:
    write(open_store(path, read_only=False), cells)
    store = open_store(path)
    return board_scores(store, leaderboard(store), parsed_weights(text))


def original(value: float) -> ScoreRecord:
    return ScoreRecord(metric="floor_original_accuracy", value=value, unit="fraction", direction="none")


def two_rows(cells: Cells) -> Cells:
    cells.record("a", [0.61, 0.59, 0.60], r2=0.5, accuracy=0.7, extra=[original(0.9)])
    cells.record("b", [0.4, 0.42, 0.45], r2=0.9, accuracy=0.8, extra=[original(0.9)])
    return cells


def test_scores_and_intervals_do_not_depend_on_other_rows(tmp_path: Path) -> None:
    weights = "ms_score=2,r2=1,accuracy=1"
    (alone,) = scores_in(tmp_path / "a.duckdb", two_rows(Cells()), weights)
    among = two_rows(Cells())
    among.record("best", [0.99, 0.98, 0.99], r2=0.99, accuracy=0.89, extra=[original(0.9)])
    among.record("worst", [0.01, 0.02, 0.01], r2=0.01, accuracy=0.51, extra=[original(0.9)])
    (more,) = scores_in(tmp_path / "b.duckdb", among, weights)
    rows, others = ({row["title"]: row for row in table_json(of_board)["rows"]} for of_board in (alone, more))
    for title, row in rows.items():
        for name in ("score", "low", "high", "positions"):
            assert row[name] == others[title][name], (title, name)
    # Accuracy from .5 (mean ablation) to .9: .7 is half way.
    assert rows["a"]["score"] == pytest.approx(100 * (2 * 0.6 + 0.5 + 0.5) / 4)
    assert rows["a"]["low"] < rows["a"]["score"] < rows["a"]["high"]
    assert 0 < rows["a"]["first_in_weights"] < 1 and others["a"]["first_in_weights"] == 0.0
    assert others["best"]["first_in_weights"] == 1.0 and others["a"]["change_to_be_first"] is None


def test_the_interval_has_the_errors_of_seeds_and_of_cells(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.5, 0.5], r2=0.5, error=0.01)
    (of_board,) = scores_in(tmp_path / "a.duckdb", cells, "ms_score=1,r2=1")
    (row,) = table_json(of_board)["rows"]
    # Equal seeds; .01 of the MS score and .04 of R2, half of each.
    assert (row["high"] - row["low"]) / 2 == pytest.approx(100 * 1.96 * math.hypot(0.005, 0.02), rel=0.06)


def test_a_board_without_a_metric_has_no_scores_and_says_so(tmp_path: Path) -> None:
    (of_board,) = scores_in(tmp_path / "a.duckdb", two_rows(Cells()), "r2=1")
    assert of_board.absent == () and of_board.scores is not None
    absent = BoardScores(of_board.board, {"kl": 1.0}, {}, ("kl",), None)
    assert table(absent).notes == ["No row has a score: this board lacks kl."]
    assert {row["score"] for row in table_json(absent)["rows"]} == {None}
    assert {tuple(row["missing"]) for row in table_json(absent)["rows"]} == {("kl",)}
    assert frame([absent])["score"].isna().all()


def test_rows_are_in_groups_and_flags_are_explained(tmp_path: Path) -> None:
    (of_board,) = scores_in(tmp_path / "a.duckdb", flagged_cells(), "ms_score=1,r2=1")
    content = table(of_board)
    titles = [row[1] for row in content.rows]
    assert titles[0].startswith("copies [collapsed") and titles.index("exact") < titles.index("good")
    assert [titles[number] for number in content.headings] == ["controls: for comparison, not ranked"]
    assert {row[0] for row in content.rows if "[" in row[1]} == {"-"}
    assert any(note.startswith("collapsed: copies") for note in content.notes)
    assert "Without a score (no r2): ghost." in content.notes


def test_odd_names_and_values_give_finite_json(tmp_path: Path) -> None:
    cells = Cells()
    for number, value in enumerate((1e99, -1e99, math.inf, math.nan, 0.5)):
        label = "".join(hostile_texts(60, seed=number)[number::7])[:200]
        extra = [ScoreRecord(metric="fit_peak_memory", value=value, unit="MB", direction="lower", uncertainty=1e200)]
        cells.record(label, [0.5, 0.5], r2=value, extra=extra)
    for of_board in scores_in(tmp_path / "a.duckdb", cells, "ms_score=1e300,r2=1e-300,fit_peak_memory=3"):
        json.dumps(table_json(of_board), allow_nan=False)
        assert len(table(of_board).rows) and len(frame([of_board]))


def test_shares_are_printed_without_false_zeros() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.25, 0.999, 1.0, math.nan)] == [
        "0",
        "<1",
        "25",
        ">99",
        "100",
        "-",
    ]
    assert [share_text(share) for share in (0.0, 0.001, 0.08, 0.25)] == ["0", "0.1", "8.0", "25"]
