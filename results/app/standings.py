"""Rows of a board against two metrics: means, intervals and the share of draws on the Pareto front.

Only candidates have a share, and only they can take others off the front: methods without a flag, whose units are part
of the model. A rank and its interval are among the rows that the board ranks (`results.boards.ranking`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.app.seed_range import is_seed_range, seed_range
from results.boards.board import Column, Row
from results.boards.families import GROUPS
from results.boards.ranking import is_candidate, is_ranked
from results.boards.uncertainty import intervals, rank_intervals
from results.comparison.joint_draws import joint_draws
from results.comparison.row_errors import RowErrors, name_of
from results.pareto import front_shares, pareto_front


@dataclasses.dataclass(frozen=True)
class Point:
    """One method on the plane of the front, in display units (percent for fractions).

    Attributes:
        factor: expansion factor, None if it was not measured.
        x, y: the mean, then its 95 % interval, or its range over seeds (`seed_range`).
        on_front: true if the row is a candidate and its means are on the front of the candidates.
        share: share of the draws in which it is; None for other rows, if one of the metrics has no direction, or if the
            spread over seeds is not known.
    """

    row: Row
    factor: float | None
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    on_front: bool
    share: float | None


def drawn(rows: Sequence[Row], column: Column, errors: RowErrors) -> np.ndarray:
    """Return (draws, n) draws of the means, in the metric's own unit; NaN for a row with one seed."""
    of_rows = errors.of(column)
    return joint_draws({name_of(row): of_rows[name_of(row)] for row in rows}, metric=column.key)


def printed(drawn: np.ndarray, column: Column) -> np.ndarray:
    """Return draws rounded to the printed digits: as for ranks, values that are printed equal are tied."""
    return np.round(drawn * (100.0 if column.unit == "fraction" else 1.0), column.digits) + 0.0


def mean_of(row: Row, key: str) -> float | None:
    """Return a row's mean in the column `key`, None if it has none."""
    aggregate = row.metrics.get(key)
    return None if aggregate is None else aggregate.mean


def points(rows: Sequence[Row], x: Column, y: Column, errors: RowErrors) -> list[Point]:
    """Return the rows that have both metrics, with the front among the candidates."""
    both = [row for row in rows if x.key in row.metrics and y.key in row.metrics]
    if not both:
        return []
    draws_x, draws_y = drawn(both, x, errors), drawn(both, y, errors)
    has_draws = ~(np.isnan(draws_x).any(axis=0) | np.isnan(draws_y).any(axis=0))
    on_front = np.zeros(len(both), dtype=bool)
    shares = np.full(len(both), np.nan)
    candidates = [number for number, row in enumerate(both) if is_candidate(row)]
    if candidates and "none" not in (x.direction, y.direction):
        larger = (x.direction == "higher", y.direction == "higher")
        rounded = pd.DataFrame(
            {c.key: [c.display_value(both[number].metrics[c.key].mean) for number in candidates] for c in (x, y)}
        )
        on_front[candidates] = pareto_front(rounded, x.key, y.key, *larger)
        shares[candidates] = front_shares(
            printed(draws_x[:, candidates], x), printed(draws_y[:, candidates], y), *larger
        )
    spans_x, spans_y = spans_of(both, x, draws_x), spans_of(both, y, draws_y)
    return [
        Point(
            row=row,
            factor=mean_of(row, "expansion_factor"),
            x=spans_x[number],
            y=spans_y[number],
            on_front=bool(on_front[number]),
            share=float(shares[number]) if has_draws[number] and not np.isnan(shares[number]) else None,
        )
        for number, row in enumerate(both)
    ]


def ranks_of(rows: Sequence[Row], column: Column, errors: RowErrors) -> list[tuple[int, int] | None]:
    """Return the interval of each row's rank among the ranked rows of its group; None for a row without one."""
    ranks: list[tuple[int, int] | None] = [None] * len(rows)
    for group in GROUPS:
        members = [number for number, row in enumerate(rows) if row.group == group and is_ranked(row, column)]
        if members:
            draws = printed(drawn([rows[number] for number in members], column, errors), column)
            for number, span in zip(members, rank_intervals(draws, larger=column.direction == "higher"), strict=True):
                ranks[number] = span
    return ranks


def without_errors(rows: Sequence[Row], x: Column, y: Column, errors: RowErrors) -> tuple[list[str], list[str]]:
    """Return titles of the rows with one seed in one of the two metrics, and of those that are drawn as exact."""
    one_seed: list[str] = []
    exact: list[str] = []
    for row in rows:
        measured = [errors.of(column)[name_of(row)] for column in (x, y) if column.key in row.metrics]
        if None in measured:
            one_seed.append(row.title)
        elif any(error is not None and not error.known for error in measured):
            exact.append(row.title)
    return one_seed, exact


def spans_of(rows: Sequence[Row], column: Column, values: np.ndarray) -> list[tuple[float, float, float]]:
    """Return mean, low and high in display units, from draws (draws, n); low and high are the mean without draws.

    An interval of a share ends at 100 %. Low and high of a time or an amount of memory are those of its seeds.
    """
    if is_seed_range(column):
        return [seed_range(row.metrics[column.key]) for row in rows]
    factor, most = (100.0, 100.0) if column.unit == "fraction" else (1.0, np.inf)
    means = (row.metrics[column.key].mean * factor for row in rows)
    return [
        (mean, mean, mean) if np.isnan(low) else (mean, low * factor, min(high * factor, max(mean, most)))
        for mean, (low, high) in zip(means, intervals(values).tolist(), strict=True)
    ]
