"""Rows of a board against two metrics: means, intervals and the share of draws on the Pareto front."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from results.boards.board import Aggregate, Board, Column, Row
from results.boards.uncertainty import Estimate, draws, estimate_of, intervals, samples_images, unknown_errors
from results.pareto import front_shares, pareto_front


@dataclasses.dataclass(frozen=True)
class Point:
    """One method on the plane of the front, in display units (percent for fractions).

    Attributes:
        row: row of the board.
        factor: expansion factor, None if it was not measured.
        x: the mean, then its 95 % interval.
        y: likewise.
        on_front: true if the means are on the front.
        share: share of the draws in which it is; None if one of the metrics has no direction.
    """

    row: Row
    factor: float | None
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    on_front: bool
    share: float | None


class ErrorKinds:
    """Kind of the standard errors of each metric."""

    def __init__(self, kinds: Mapping[str, str | None]) -> None:
        self._kinds = kinds

    def shared(self, column: Column) -> bool:
        """Return whether the errors are over images, which all methods share."""
        return samples_images(self._kinds.get(column.metric))


def name_of(row: Row) -> str:
    """Return the string that seeds a row's draws."""
    return f"{row.config_id}:{row.label}"


def estimates(rows: Sequence[Row], column: Column, kinds: ErrorKinds) -> dict[str, Estimate | None]:
    """Return row name -> estimate of its mean."""
    by_name: dict[str, Estimate | None] = {}
    for row in rows:
        aggregate = row.metrics.get(column.key)
        by_name[name_of(row)] = None if aggregate is None else estimate_of(aggregate, shared=kinds.shared(column))
    return by_name


def drawn(rows: Sequence[Row], column: Column, kinds: ErrorKinds) -> np.ndarray:
    """Return (draws, n) draws of the means, in the metric's own unit."""
    return draws(estimates(rows, column, kinds), metric=column.key)


def printed(drawn: np.ndarray, column: Column) -> np.ndarray:
    """Return draws rounded to the printed digits: as for ranks, values that are printed equal are tied."""
    return np.round(drawn * (100.0 if column.unit == "fraction" else 1.0), column.digits) + 0.0


def expansion_factor(row: Row) -> float | None:
    """Return a row's measured expansion factor."""
    aggregate: Aggregate | None = row.metrics.get("expansion_factor")
    return None if aggregate is None else aggregate.mean


def points(rows: Sequence[Row], x: Column, y: Column, kinds: ErrorKinds) -> list[Point]:
    """Return the rows that have both metrics, with the front among them."""
    both = [row for row in rows if x.key in row.metrics and y.key in row.metrics]
    if not both:
        return []
    means = pd.DataFrame({c.key: [row.metrics[c.key].mean for row in both] for c in (x, y)})
    all_x, all_y = drawn(both, x, kinds), drawn(both, y, kinds)
    ranked = "none" not in (x.direction, y.direction)
    larger_x, larger_y = x.direction == "higher", y.direction == "higher"
    if ranked:
        rounded = pd.DataFrame({c.key: [c.display_value(value) for value in means[c.key]] for c in (x, y)})
        mask = pareto_front(rounded, x.key, y.key, larger_x, larger_y)
        shares = front_shares(printed(all_x, x), printed(all_y, y), larger_x, larger_y)
    spans = [_in_display_units(means[c.key], intervals(values), c) for c, values in ((x, all_x), (y, all_y))]
    return [
        Point(
            row=row,
            factor=expansion_factor(row),
            x=spans[0][number],
            y=spans[1][number],
            on_front=bool(ranked and mask[number]),
            share=float(shares[number]) if ranked else None,
        )
        for number, row in enumerate(both)
    ]


def without_errors(board: Board, x: Column, y: Column, kinds: ErrorKinds) -> list[str]:
    """Return titles of rows with no known error in one of the two metrics."""
    bare: set[str] = set()
    for column in (x, y):
        bare.update(unknown_errors(list(estimates(board.rows, column, kinds).items())))
    return [row.title for row in board.rows if name_of(row) in bare]


def _in_display_units(means: pd.Series, spans: np.ndarray, column: Column) -> list[tuple[float, float, float]]:
    """Return mean, low and high in display units; an interval of a share is clipped at 100 %."""
    factor, most = (100.0, 100.0) if column.unit == "fraction" else (1.0, np.inf)
    return [
        (mean * factor, low * factor, min(high * factor, max(mean * factor, most)))
        for mean, (low, high) in zip(means, spans.tolist(), strict=True)
    ]
