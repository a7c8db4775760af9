"""Columns of label and steering scores: separate for other settings, with short names and an explanation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results import CellRecord, ScoreRecord, open_store
from results.boards.board import Board, Column
from results.boards.columns import is_detail
from results.boards.lead_columns import column_name, group_of, lead_of
from results.comparison.leaderboard import leaderboard
from results.store.labels import ADDED_METRICS

CLIP = {"scorer": "clip", "version": 1, "model": "hf:a/b", "concepts": "common", "draws": 200, "seed": 0}
CLASSES = {"scorer": "classes", "version": 1, "classes": "0af3", "draws": 200, "seed": 0}


def board_of(path: Path, *scores: ScoreRecord) -> Board:
    store = open_store(path, read_only=False)
    cell = CellRecord(cell_id="c", status="finished", backbone="b", site="s", method="m", token_seed=1)
    store.record(cell, [ScoreRecord(metric="r2", value=0.5), *scores])
    (board,) = leaderboard(store)
    return board


def share(params: dict[str, Any], value: float = 0.5) -> ScoreRecord:
    return ScoreRecord(metric="labelled_share", value=value, unit="fraction", n=4, params=params)


def columns_of(board: Board, metric: str) -> list[Column]:
    return [column for column in board.columns if column.metric == metric]


def test_scores_of_two_scorers_are_two_columns_named_by_the_scorer(tmp_path: Path) -> None:
    board = board_of(tmp_path / "r.duckdb", share(CLIP, 0.4), share(CLASSES, 0.6))
    columns = columns_of(board, "labelled_share")
    assert {column.key for column in columns} == {"labelled_share[clip]", "labelled_share[classes]"}
    assert {column_name(column) for column in columns} == {"labelled units[clip]", "labelled units[classes]"}
    values = {column.key: board.rows[0].metrics[column.key].mean for column in columns}
    assert values == {"labelled_share[clip]": 0.4, "labelled_share[classes]": 0.6}
    assert any("not ranked together: their parameters differ" in note for note in board.notes)


def test_one_scorer_with_other_settings_is_told_apart_by_these(tmp_path: Path) -> None:
    board = board_of(tmp_path / "r.duckdb", share(CLIP), share({**CLIP, "concepts": "imagenet"}), share(CLASSES))
    keys = [column.key for column in columns_of(board, "labelled_share")]
    assert len(set(keys)) == 3 and any("concepts=imagenet" in key and "scorer=clip" in key for key in keys)


def test_agreements_are_named_by_both_scorers(tmp_path: Path) -> None:
    pairs = [["classes", "clip"], ["classifier", "clip"]]
    scores = [
        ScoreRecord(
            metric="label_agreement", value=0.5, params={"labellings": ["0" * 16, f"{n}" * 16], "scorers": pair}
        )
        for n, pair in enumerate(pairs)
    ]
    keys = {column.key for column in columns_of(board_of(tmp_path / "r.duckdb", *scores), "label_agreement")}
    assert keys == {"label_agreement[classes+clip]", "label_agreement[classifier+clip]"}


@pytest.mark.parametrize("scorers", [[], [1, 2], "clip", None, [""]])
def test_odd_parameters_are_no_names(tmp_path: Path, scorers: Any) -> None:
    scores = [
        ScoreRecord(metric="label_agreement", value=0.5, params={"labellings": [name], "scorers": scorers})
        for name in ("x", "y")
    ]
    columns = columns_of(board_of(tmp_path / "r.duckdb", *scores), "label_agreement")
    assert len(columns) == 2 and all("labellings=" in column.key for column in columns)


@pytest.mark.parametrize("metric", ADDED_METRICS)
def test_every_score_of_labels_and_steering_has_a_title_and_an_explanation(tmp_path: Path, metric: str) -> None:
    board = board_of(tmp_path / "r.duckdb", ScoreRecord(metric=metric, value=0.5, params=CLIP))
    (column,) = columns_of(board, metric)
    lead = lead_of(column)
    assert lead is not None and len(lead.heading) < 25 and len(lead.explanation) < 90
    assert "_" not in column_name(column) and group_of(column) == "concepts"
    assert is_detail(column) is (metric not in ("labelled_share", "steering_effect"))
