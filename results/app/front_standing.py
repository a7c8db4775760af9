"""Rows of the front with their intervals and shares, kept until the store changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from results.app import data
from results.app.standings import Point, points, without_errors
from results.boards.board import Board, BoardKey, Column, Row
from results.boards.lead_columns import position
from results.boards.ranking import HEADLINE
from results.comparison.headline import FAITHFULNESS
from results.comparison.row_errors import RowErrors, name_of
from results.store import Store

#: Metrics of the axes before the reader chooses: the first that the board has.
DEFAULT_X, DEFAULT_Y = FAITHFULNESS, (*HEADLINE, "win_rate")


class Standing(NamedTuple):
    """Rows of a board against two metrics."""

    points: list[Point]
    one_seed: list[str]
    """titles of the rows with one seed in one of the metrics: without an interval and a share"""
    exact: list[str]
    """titles of the rows whose error is not known at all"""


def standing(store: Store, board: Board, rows: Sequence[Row], x: Column, y: Column) -> Standing:
    """Return the `rows` of a board that have both metrics, cached until the store changes.

    Raises:
        StoreError: the store cannot be read.
    """
    key = BoardKey(*(getattr(board, name) or "" for name in BoardKey._fields))
    names = tuple(map(name_of, rows))
    return _standing(data.stamp(), key, names, (x.key, y.key), store, board, list(rows), x, y)


def default_axis(columns: Sequence[Column], preferred: Sequence[str], not_this: str | None) -> str:
    """Return the key of the column of an axis before the reader chooses; `not_this` is the key of the other axis."""
    order = [column.key for metric in preferred for column in columns if column.metric == metric]
    order += [column.key for column in columns if column.direction != "none"] + [column.key for column in columns]
    return next((candidate for candidate in order if candidate != not_this), order[0])


def prepare(store: Store, boards: Sequence[Board]) -> None:
    """Compute the front that the first visitor sees, before the visit.

    Raises:
        StoreError: the store cannot be read.
    """
    for board in boards[:1]:
        columns = measured_columns(board)
        if len(columns) > 1:
            by_key = {column.key: column for column in columns}
            y = default_axis(columns, DEFAULT_Y, None)
            x = default_axis(columns, DEFAULT_X, y)
            standing(store, board, board.rows, by_key[x], by_key[y])


def measured_columns(board: Board) -> list[Column]:
    """Return the columns of which a row of the board has a value, in the order in which they are offered."""
    columns = [column for column in board.columns if any(column.key in row.metrics for row in board.rows)]
    return sorted(columns, key=position)


# Draws and intervals take longer than all else on the page; they are seeded.
@st.cache_resource(max_entries=64, show_spinner=False)
def _standing(
    stamp: tuple[str, int, int],
    key: BoardKey,
    names: tuple[str, ...],
    axes: tuple[str, str],
    _store: Store,
    _board: Board,
    _rows: Sequence[Row],
    _x: Column,
    _y: Column,
) -> Standing:
    errors = RowErrors(_store, _board)
    measured = points(_rows, _x, _y, errors)
    return Standing(measured, *without_errors([row for row in _rows if not row.flags], _x, _y, errors))
