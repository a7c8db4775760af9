"""Comparison of a row with the random control of the same number of units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from results.boards.board import Aggregate, Column, Row
from results.boards.mean_intervals import Variance, cell_variance, reach, seed_variance
from results.boards.ranking import HEADLINE

#: Largest relative difference between the expansion factors of a row and its control: both have about as many units.
MATCHED_FACTOR = 0.05


class ChanceComparison(NamedTuple):
    """Score of a row, and of its count-matched control."""

    column: Column
    control: Row
    difference: float
    low: float
    high: float
    """95 % interval of the difference"""
    within_cells_of: tuple[str, ...]
    """titles of the rows with one seed; if there are any, the interval has only the standard errors within cells"""

    @property
    def is_separable(self) -> bool:
        """Return whether the row is above the control."""
        return self.low > 0


def compared_with_chance(row: Row, rows: Sequence[Row], columns: Sequence[Column]) -> ChanceComparison | None:
    """Return the comparison of a row with its control; None if there is no control, or no known error.

    A control is another row whose `control_for` has the family of the row, and whose expansion factor differs from the
    row's by at most 5 %. Of several, it is the one with the highest score. The score is the first of `HEADLINE`
    that a control has, too.
    """
    for column in _score_columns(columns):
        if column.key not in row.metrics:
            continue
        controls = [
            other
            for other in rows
            if other is not row
            and row.family in other.control_for
            and column.key in other.metrics
            and _have_as_many_units(row, other, columns)
        ]
        if controls:
            control = max(controls, key=lambda other: other.metrics[column.key].mean)
            return _compared(row, control, column)
    return None


def _score_columns(columns: Sequence[Column]) -> list[Column]:
    return [column for metric in HEADLINE for column in columns if column.metric == metric]


def _have_as_many_units(row: Row, other: Row, columns: Sequence[Column]) -> bool:
    for column in columns:
        if column.metric == "expansion_factor" and column.key in row.metrics and column.key in other.metrics:
            factor = row.metrics[column.key].mean
            return abs(other.metrics[column.key].mean - factor) <= MATCHED_FACTOR * factor
    return False


def _compared(row: Row, control: Row, column: Column) -> ChanceComparison | None:
    sides = [row.metrics[column.key], control.metrics[column.key]]
    single = tuple(side.title for side, aggregate in zip((row, control), sides, strict=True) if aggregate.n < 2)
    variances = _variances(sides, seeds=not single)
    if not variances:
        return None
    difference = sides[0].mean - sides[1].mean
    half = reach(variances)
    return ChanceComparison(column, control, difference, difference - half, difference + half, single)


def _variances(sides: Sequence[Aggregate], *, seeds: bool) -> list[Variance]:
    within = [variance for side in sides for variance in cell_variance(side)]
    if not seeds:
        # The error of one side alone would make the other one exact.
        return within if len(within) == len(sides) else []
    return [variance for side in sides for variance in seed_variance(side)] + within
