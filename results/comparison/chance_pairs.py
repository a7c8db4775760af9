"""Paired difference of a row and its random control, for the flag `at chance`.

It is the difference of `harness compare`, so that flag, headline and comparison cannot contradict each other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from results.boards.board import Board, Column, Row
from results.boards.chance import PairedDifference, ScoreDifference, basis_within_cells
from results.comparison.difference import Sampling
from results.comparison.paired import CellScores
from results.comparison.unit_values import UNIT_VALUES
from results.errors import NotComparableError

#: The settings of `harness compare`, except that a single pair of seeds has an interval, too.
SAMPLING = Sampling(level=0.95, n_resamples=2000, seed=0, within_cells=True)


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
            single = [side.title for side in (row, control) if side.n_seeds < 2]
            basis = basis_within_cells(single) if difference.n_seeds == 1 else ""
            return ScoreDifference(difference.difference, difference.low, difference.high, basis)
    return None
