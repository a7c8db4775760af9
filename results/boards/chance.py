"""Comparison of a row with the random control of the same number of units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from results.boards.board import Aggregate, Column, Row
from results.boards.mean_intervals import Variance, cell_variance, reach, seed_variance
from results.boards.ranking import HEADLINE

#: Largest relative difference between the expansion factors of a row and its control: both have about as many units.
MATCHED_FACTOR = 0.05


class ScoreDifference(NamedTuple):
    """Score of a row minus that of another one, in the metric's unit, with its 95 % interval."""

    difference: float
    low: float
    high: float
    basis: str = ""
    """restriction of the interval, in words that follow "from"; "" if it is that of `harness compare`"""
    single: tuple[str, ...] = ()
    """titles of the rows with one seed; if there are any, the ends have only the errors within cells: no interval"""


#: (row, control, column of the score) -> their paired difference; None if they cannot be paired.
PairedDifference = Callable[[Row, Row, Column], ScoreDifference | None]


class ChanceComparison(NamedTuple):
    """Score of a row, against that of its count-matched control."""

    column: Column
    control: Row
    score: ScoreDifference

    @property
    def is_separable(self) -> bool:
        """Return whether the row is above the control."""
        return self.score.low > 0


def matched_control(row: Row, rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Column, Row] | None:
    """Return the score in which a row is compared with chance, and its control; None if there is no control.

    A control is another row whose `control_for` has the family of the row, and whose expansion factor differs from the
    row's by at most 5 %. Of several, it is the one with the highest score. The score is the first of `HEADLINE`
    that a control has, too.
    """
    for column in (column for metric in HEADLINE for column in columns if column.metric == metric):
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
            return column, max(controls, key=lambda other: other.metrics[column.key].mean)
    return None


def compared_with_chance(
    row: Row, rows: Sequence[Row], columns: Sequence[Column], paired: PairedDifference | None = None
) -> ChanceComparison | None:
    """Return the comparison of a row with its control; None if there is no control, or no known error.

    Args:
        paired: source of paired differences. Without it, or for rows that it cannot pair (they share no seed), the
            errors of both sides are added as if they were independent.
    """
    matched = matched_control(row, rows, columns)
    if matched is None:
        return None
    column, control = matched
    score = (paired(row, control, column) if paired else None) or _unpaired(row, control, column)
    return None if score is None else ChanceComparison(column, control, score)


def _have_as_many_units(row: Row, other: Row, columns: Sequence[Column]) -> bool:
    for column in columns:
        if column.metric == "expansion_factor" and column.key in row.metrics and column.key in other.metrics:
            factor = row.metrics[column.key].mean
            return abs(other.metrics[column.key].mean - factor) <= MATCHED_FACTOR * factor
    return False


def _unpaired(row: Row, control: Row, column: Column) -> ScoreDifference | None:
    sides = [row.metrics[column.key], control.metrics[column.key]]
    single = tuple(side.title for side, aggregate in zip((row, control), sides, strict=True) if aggregate.n < 2)
    variances = _variances(sides, seeds=not single)
    if not variances:
        return None
    difference, half = sides[0].mean - sides[1].mean, reach(variances)
    basis = "the errors of both rows as if they were independent"
    return ScoreDifference(difference, difference - half, difference + half, basis, single)


def _variances(sides: Sequence[Aggregate], *, seeds: bool) -> list[Variance]:
    within = [variance for side in sides for variance in cell_variance(side)]
    if not seeds:
        # The error of one side alone would make the other one exact.
        return within if len(within) == len(sides) else []
    return [variance for side in sides for variance in seed_variance(side)] + within
