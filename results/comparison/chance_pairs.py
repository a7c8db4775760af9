"""Paired difference of a row and its random control, for the flag `at chance`.

It is the difference of `harness compare`, so that flag, headline and comparison cannot contradict each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from results.boards.board import Board, Column, Row
from results.boards.chance import PairedDifference, ScoreDifference
from results.comparison.difference import DEFAULT_SAMPLING, INDEPENDENT_ERRORS, Difference
from results.comparison.paired import CellScores
from results.comparison.unit_values import UNIT_VALUES
from results.errors import NotComparableError

#: Unlike in `harness compare`, a single pair of seeds has an interval, too.
SAMPLING = DEFAULT_SAMPLING._replace(within_cells=True)


def paired_on_boards(cells: CellScores) -> Callable[[Board], PairedDifference]:
    """Return the function from a board to the paired differences of its rows."""
    return lambda board: functools.partial(_paired, cells, board)


def _paired(cells: CellScores, board: Board, row: Row, control: Row, column: Column) -> ScoreDifference | None:
    try:
        if column.metric in UNIT_VALUES:
            # All rows at once: a query for each would take most of the time of a board.
            cells.units.of(column.metric, (cell_id for board_row in board.rows for cell_id in board_row.cell_ids))
        comparison = cells.compare(board, row, control, SAMPLING, [column.metric])
    except NotComparableError:
        return None
    for difference in comparison.differences:
        is_score = difference.column.version == column.version and difference.column.params == column.params
        if is_score and difference.low is not None and difference.high is not None:
            return _with_basis(difference, row, control, column, difference.low, difference.high)
    return None


def _with_basis(
    difference: Difference, row: Row, control: Row, column: Column, low: float, high: float
) -> ScoreDifference | None:
    """Return the difference with the restrictions of its interval; None if one shared seed of several decides it."""
    sides = [(side.title, side.metrics[column.key]) for side in (row, control)]
    single = tuple(title for title, aggregate in sides if aggregate.n < 2)
    if difference.n_seeds == 1 and not single:
        return None
    restrictions = []
    of_board = sides[0][1].mean - sides[1][1].mean
    if not math.isclose(difference.difference, of_board, rel_tol=1e-6, abs_tol=1e-9):
        restrictions.append(f"the {difference.n_seeds} seeds that both rows have")
    if INDEPENDENT_ERRORS in difference.paired:
        restrictions.append("the errors of both rows as if they were independent")
    return ScoreDifference(difference.difference, low, high, ", and ".join(restrictions), single)
