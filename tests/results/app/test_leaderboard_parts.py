"""Parts of the leaderboard: short numbers, scales of bars, groups of columns, and shares of first places."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("streamlit")

from flagged_board import Cells, flagged_cells
from hypothesis import given
from hypothesis import strategies as st

from results.app.bar_scale import bar_scale
from results.app.column_groups import folded, group_of, leads, visible_columns
from results.app.sorting import Sorting


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6))
def test_every_value_is_on_the_scale(values: list[float]) -> None:
    scale = bar_scale(values)
    assert scale is None or all(-1e-9 <= scale.position(value) <= 1 + 1e-9 for value in values)


def test_ends_of_scales() -> None:
    assert bar_scale([4.2, 18.4]) == (0.0, 19.0)
    assert bar_scale([61.3, 84.0]) == (61.0, 84.0)
    assert bar_scale([40.0, 100.0], most=100.0) == (0.0, 100.0)
    assert bar_scale([7.0]) is not None
    assert bar_scale([math.nan]) is None
    scale = bar_scale([-2.0, 2.0])
    assert scale is not None and scale.zero == 0.5


def test_every_column_is_the_lead_of_its_group_or_folded_behind_it() -> None:
    board = flagged_cells().board()
    lead_of = leads(board)
    assert {group: column.key for group, column in lead_of.items()} == {
        "interpretability": "ms_score",
        "faithfulness": "r2",
    }
    further = [column.key for columns in folded(board).values() for column in columns]
    assert sorted([*further, *(column.key for column in lead_of.values())]) == sorted(c.key for c in board.columns)
    assert all(group_of(column) == group for group, columns in folded(board).items() for column in columns)
    every = visible_columns(board, list(folded(board)))
    assert every["faithfulness"][0].key == "r2"
    assert sum(map(len, every.values())) == len(board.columns)


def test_rows_without_the_metric_come_last_in_both_orders() -> None:
    cells = Cells()
    cells.record("high", [0.6, 0.6])
    cells.record("low", [0.4, 0.4])
    cells.record("without", [0.5, 0.5], r2=None)
    cells.record("high r2", [0.5, 0.5], r2=0.9)
    board = cells.board()
    r2 = next(column for column in board.columns if column.key == "r2")
    for worst_first in (False, True):
        titles = [board.rows[index].title for index in Sorting(r2, worst_first).indices(board.rows)]
        assert titles[-1] == "without" and (titles[0] == "high r2") is not worst_first
