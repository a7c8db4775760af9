"""Order of a leaderboard's rows: by section, then by one column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from results.boards.board import Board, Column, Row
from results.boards.ranking import HEADLINE

FLAGGED, FAILED = "flagged", "failed"
#: Key of each section of rows -> its heading. Only rows of the first one are ranked against each other.
SECTIONS: Mapping[str, str] = {
    "method": "",
    FLAGGED: "Flagged: shown but not ranked, because their values may mislead",
    "virtual": "Virtual: their units are not part of the model, ranked among themselves",
    FAILED: "Failed: no cell has finished",
    "control": "Controls: levels to compare with, not ranked",
}


@dataclasses.dataclass(frozen=True)
class Sorting:
    """Column by which rows are sorted, and the order.

    Attributes:
        column: None if the board has no column with a direction.
        worst_first: rows with the worst mean come first; for a column without a direction, those with the least.
    """

    column: Column | None
    worst_first: bool = False

    @property
    def order(self) -> str:
        """Order of the numbers: "ascending" or "descending"."""
        is_lower = self.column is not None and self.column.direction == "lower"
        return "ascending" if is_lower != self.worst_first else "descending"

    def indices(self, rows: Sequence[Row]) -> list[int]:
        """Return the indices of the rows in order; those without the metric come last."""
        sign = 1.0 if self.order == "ascending" else -1.0

        def position(index: int) -> tuple[bool, float, str, str]:
            row = rows[index]
            aggregate = row.metrics.get(self.column.key) if self.column else None
            return aggregate is None, sign * aggregate.mean if aggregate else 0.0, row.title, row.config_id

        return sorted(range(len(rows)), key=position)


def default_column(board: Board) -> Column | None:
    """Return the column by which a board is sorted first: the headline's score, else the first with a direction."""
    candidates = [column for metric in HEADLINE for column in board.columns if column.metric == metric]
    return next(iter([*candidates, *(column for column in board.columns if column.direction != "none")]), None)


def section_of(row: Row) -> str:
    """Return the key of the section of a row."""
    if row.n_failed and not row.n_finished:
        return FAILED
    return FLAGGED if row.group == "method" and row.flags else row.group
