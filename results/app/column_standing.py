"""Standing of every row in one column: draws of the mean, its interval and the interval of its rank, cached."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import streamlit as st

from results.app import data
from results.app.standings import drawn, ranks_of, spans_of
from results.boards.board import Board, BoardKey, Column
from results.comparison.row_errors import RowErrors
from results.store import Store

Stamp = tuple[str, int, int]


class ColumnStanding(NamedTuple):
    """Values of a column, one entry per row of the board.

    Attributes:
        draws: (draws, n) draws of the means in the metric's own unit; NaN for a row without a known error.
        spans: mean, low and high end of the 95 % interval (or of the range over seeds, see `seed_range`) in display
            units; the ends equal the mean if there is no interval. None for a row without the metric.
        ranks: interval of the rank among the ranked rows of the group; None for a row that is not ranked.
    """

    draws: np.ndarray
    spans: tuple[tuple[float, float, float] | None, ...]
    ranks: tuple[tuple[int, int] | None, ...]


class Standings:
    """Reader of the columns of one board; reads each column once for each state of the store."""

    def __init__(self, store: Store, board: Board) -> None:
        self.store, self.board = store, board

    def of(self, column: Column) -> ColumnStanding:
        """Return the standing of every row in a column.

        Raises:
            StoreError: the store cannot be read.
        """
        key = BoardKey(*(getattr(self.board, name) or "" for name in BoardKey._fields))
        return _standing(data.stamp(), key, column.key, self, column)

    @functools.cached_property
    def errors(self) -> RowErrors:
        """Errors of the rows, opened at the first column that is not cached."""
        return RowErrors(self.store, self.board)


# Of the draws of a column, 100 rows take 1.6 MB.
@st.cache_resource(max_entries=128, show_spinner=False)
def _standing(stamp: Stamp, key: BoardKey, column_key: str, _standings: Standings, _column: Column) -> ColumnStanding:
    rows, column = _standings.board.rows, _column
    draws = drawn(rows, column, _standings.errors)
    measured = [number for number, row in enumerate(rows) if column.key in row.metrics]
    spans: list[tuple[float, float, float] | None] = [None] * len(rows)
    of_draws = spans_of([rows[number] for number in measured], column, draws[:, measured]) if measured else []
    for number, span in zip(measured, of_draws, strict=True):
        # A pooled value has an interval of its own, which is not symmetric as that of its draws is.
        interval = rows[number].metrics[column.key].interval
        factor = 100.0 if column.unit == "fraction" else 1.0
        spans[number] = (span[0], interval[0] * factor, interval[1] * factor) if interval else span
    return ColumnStanding(draws, tuple(spans), tuple(ranks_of(rows, column, _standings.errors)))
