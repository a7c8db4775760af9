"""Rows of a board against two metrics: means, intervals and the share of draws on the Pareto front."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from results.boards.board import Board, Column, Row
from results.boards.uncertainty import Estimate, draws, estimate_of, intervals, samples_images, unknown_errors
from results.pareto import front_shares, pareto_front


@dataclasses.dataclass(frozen=True)
class Point:
    """One method on the plane of the front, in display units (percent for fractions).

    Attributes:
        factor: expansion factor, None if it was not measured.
        x, y: the mean, then its 95 % interval.
        on_front: true if the means are on the front.
        share: share of the draws in which it is; None if one of the metrics has no direction.
    """

    row: Row
    factor: float | None
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    on_front: bool
    share: float | None


ErrorKinds = Mapping[str, str | None]
"""Metric -> kind of its standard errors, as returned by `queries.error_kinds`."""


def name_of(row: Row) -> str:
    """Return the string that seeds a row's draws."""
    return f"{row.config_id}:{row.label}"


def estimates(rows: Sequence[Row], column: Column, kinds: ErrorKinds) -> dict[str, Estimate | None]:
    """Return row name -> estimate of its mean."""
    shared = samples_images(kinds.get(column.metric))
    aggregates = {name_of(row): row.metrics.get(column.key) for row in rows}
    return {name: estimate_of(entry, shared=shared) if entry else None for name, entry in aggregates.items()}


def drawn(rows: Sequence[Row], column: Column, kinds: ErrorKinds) -> np.ndarray:
    """Return (draws, n) draws of the means, in the metric's own unit."""
    return draws(estimates(rows, column, kinds), metric=column.key)


def printed(drawn: np.ndarray, column: Column) -> np.ndarray:
    """Return draws rounded to the printed digits: as for ranks, values that are printed equal are tied."""
    return np.round(drawn * (100.0 if column.unit == "fraction" else 1.0), column.digits) + 0.0


def mean_of(row: Row, key: str) -> float | None:
    """Return a row's mean in the column `key`, None if it has none."""
    aggregate = row.metrics.get(key)
    return None if aggregate is None else aggregate.mean


def points(rows: Sequence[Row], x: Column, y: Column, kinds: ErrorKinds) -> list[Point]:
    """Return the rows that have both metrics, with the front among them."""
    both = [row for row in rows if x.key in row.metrics and y.key in row.metrics]
    if not both:
        return []
    draws_x, draws_y = drawn(both, x, kinds), drawn(both, y, kinds)
    ranked = "none" not in (x.direction, y.direction)
    if ranked:
        larger = (x.direction == "higher", y.direction == "higher")
        rounded = pd.DataFrame({c.key: [c.display_value(row.metrics[c.key].mean) for row in both] for c in (x, y)})
        mask = pareto_front(rounded, x.key, y.key, *larger)
        shares = front_shares(printed(draws_x, x), printed(draws_y, y), *larger)
    spans_x, spans_y = _spans(both, x, draws_x), _spans(both, y, draws_y)
    return [
        Point(
            row=row,
            factor=mean_of(row, "expansion_factor"),
            x=spans_x[number],
            y=spans_y[number],
            on_front=bool(ranked and mask[number]),
            share=float(shares[number]) if ranked else None,
        )
        for number, row in enumerate(both)
    ]


def without_errors(board: Board, x: Column, y: Column, kinds: ErrorKinds) -> list[str]:
    """Return titles of rows with no known error in one of the two metrics."""
    bare = {name for c in (x, y) for name in unknown_errors(list(estimates(board.rows, c, kinds).items()))}
    return [row.title for row in board.rows if name_of(row) in bare]


def _spans(rows: Sequence[Row], column: Column, values: np.ndarray) -> list[tuple[float, float, float]]:
    """Return mean, low and high in display units, from draws (draws, n); an interval of a share ends at 100 %."""
    factor, most = (100.0, 100.0) if column.unit == "fraction" else (1.0, np.inf)
    means = (row.metrics[column.key].mean * factor for row in rows)
    return [
        (mean, low * factor, min(high * factor, max(mean, most)))
        for mean, (low, high) in zip(means, intervals(values).tolist(), strict=True)
    ]
