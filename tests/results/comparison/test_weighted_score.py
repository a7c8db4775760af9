"""Weighted scores of a board's rows: closed forms, first places, missing metrics, and rows that are added."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flagged_board import Cells, flagged_board, fraction

from results.boards.board import Board
from results.comparison.weighted_score import WeightedScores, controls_above, lacking, weighted_scores


def scores_of(board: Board, weights: dict[str, float], spread: float = 0.0) -> WeightedScores:
    """Scores with draws that are the means, or normal around them."""
    columns = {name: board.columns_called([name])[0] for name in weights}
    generator = np.random.default_rng(0)
    draws = {
        name: np.array([row.metrics[column.key].mean if column.key in row.metrics else np.nan for row in board.rows])
        + spread * generator.standard_normal((2000, len(board.rows)))
        for name, column in columns.items()
    }
    return weighted_scores(board.rows, columns, draws, weights)


def by_title(board: Board, values: np.ndarray) -> dict[str, float]:
    return dict(zip((row.title for row in board.rows), values.tolist(), strict=True))


def test_first_places_of_draws_add_up_to_one_and_ties_divide_them() -> None:
    cells = Cells()
    cells.record("a", [0.6, 0.6], r2=0.5)
    cells.record("b", [0.6, 0.6], r2=0.5)
    cells.record("worse", [0.2, 0.2], r2=0.1)
    cells.record("backbone only", [0.9, 0.9], method="identity", claims={"family": "control"}, r2=1.0)
    board = cells.board()
    scores = scores_of(board, {"ms_score": 1.0, "r2": 1.0})
    first = by_title(board, scores.first)
    assert (first["a"], first["b"], first["worse"]) == (0.5, 0.5, 0.0) and math.isnan(first["backbone only"])
    assert by_title(board, scores.first_at_random)["a"] == 0.5
    values = by_title(board, scores.values)
    assert values["a"] == pytest.approx(55.0) and values["backbone only"] == pytest.approx(95.0)
    shares = by_title(board, scores.weight_shares)
    assert (shares["a"], shares["worse"]) == (0.5, 0.0) and math.isnan(shares["backbone only"])
    changes = by_title(board, scores.changes)
    assert (changes["a"], changes["b"], changes["worse"]) == (0.0, 0.0, math.inf) and scores.nearest is None
    assert [board.rows[number].title for number in controls_above(board.rows, scores)] == ["backbone only"]


def test_two_metrics_in_closed_form() -> None:
    cells = Cells()
    cells.record("sparse", [0.8, 0.8], r2=0.4)
    cells.record("exact", [0.5, 0.5], r2=1.0)
    board = cells.board()
    scores = scores_of(board, {"ms_score": 1.0, "r2": 1.0})
    # 0.8 t + 0.4 (1 - t) = 0.5 t + (1 - t) at t = 2/3.
    assert by_title(board, scores.weight_shares) == pytest.approx({"sparse": 1 / 3, "exact": 2 / 3})
    assert by_title(board, scores.changes) == pytest.approx({"sparse": 1 / 6, "exact": 0.0}, abs=1e-9)
    assert scores.nearest is not None and board.rows[scores.nearest.row].title == "sparse"
    assert scores.nearest.weights == pytest.approx({"ms_score": 2 / 3, "r2": 1 / 3})


def test_the_interval_is_that_of_the_weighted_draws() -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.5], r2=0.5)
    scores = scores_of(cells.board(), {"ms_score": 3.0, "r2": 1.0}, spread=0.02)
    low, high = scores.spans[0]
    # The metrics are independent: (3/4, 1/4) of .02 add up to .0158.
    assert (high - low) / 2 == pytest.approx(100 * 1.96 * 0.02 * math.hypot(0.75, 0.25), rel=0.05)


def test_flagged_rows_have_a_score_and_are_never_first() -> None:
    board = flagged_board()
    scores = scores_of(board, {"ms_score": 1.0, "r2": 1.0})
    for number, row in enumerate(board.rows):
        if row.flags or row.group != "method":
            assert scores.ranks[number] is None
            assert all(math.isnan(v[number]) for v in (scores.first, scores.weight_shares, scores.changes))
        assert math.isnan(scores.values[number]) == (row.title == "ghost")


@pytest.mark.parametrize("extra", [0.99, 0.01])
def test_another_row_changes_no_score(extra: float) -> None:
    def record(cells: Cells) -> Board:
        cells.record("a", [0.61, 0.59], r2=0.5)
        cells.record("b", [0.4, 0.42], r2=0.9)
        return cells.board()

    alone = record(Cells())
    cells = Cells()
    cells.record("other", [extra, extra], r2=extra, accuracy=extra)
    among = record(cells)
    weights = {"ms_score": 2.0, "r2": 1.0, "agreement": 1.0}
    one, other = (by_title(board, scores_of(board, weights).values) for board in (alone, among))
    assert {title: other[title] for title in one} == one


def test_a_row_says_which_metric_it_lacks() -> None:
    cells = Cells()
    cells.record("a", [0.6, 0.6], r2=None)
    cells.record("b", [0.6, 0.6])
    board = cells.board()
    columns = {name: board.columns_called([name])[0] for name in ("ms_score", "r2", "accuracy")}
    of_row = {row.title: lacking(row, columns, {"ms_score": 1.0, "r2": 1.0, "accuracy": 0.0}) for row in board.rows}
    assert of_row == {"a": ["r2"], "b": []}
    (reason,) = lacking(board.rows[0], columns, {"accuracy": 1.0})
    assert reason.startswith("position in accuracy: floor_mean_accuracy and floor_original_accuracy missing")


def test_huge_and_undefined_values_stay_on_the_scale() -> None:
    cells = Cells()
    cells.record("huge", [0.6, 0.6], r2=1e99)
    cells.record("infinite", [0.6, 0.6], r2=math.inf)
    cells.record("undefined", [0.6, 0.6], extra=[fraction("kl", math.nan)])
    cells.record("low", [0.6, 0.6], r2=-1e99)
    board = cells.board()
    values = by_title(board, scores_of(board, {"ms_score": 1.0, "r2": 1.0}).values)
    assert values["huge"] == pytest.approx(80.0) and values["low"] == pytest.approx(30.0)
    assert math.isnan(values["infinite"])
