"""Weighted score of a board's rows on three axes, and the share of draws in which each row is first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from results.app.standings import is_candidate
from results.boards.board import Board, Column, Row
from results.boards.ranking import HEADLINE
from results.boards.uncertainty import intervals, rank_intervals
from results.boards.weighted_mean import SCALES, weighted
from results.comparison.headline import FAITHFULNESS
from results.comparison.joint_draws import generator_of

#: Axis -> metrics of which the first that a board has stands for it.
AXES: Mapping[str, Sequence[str]] = {
    "interpretability": HEADLINE,
    "faithfulness": FAITHFULNESS,
    "cost": ("fit_seconds", "encode_macs"),
}
#: Name -> weights of the axes.
PRESETS: Mapping[str, tuple[float, ...]] = {
    "balanced": (1.0, 1.0, 1.0),
    "faithful": (0.2, 1.0, 0.2),
    "interpretable": (1.0, 0.2, 0.2),
    "cheap": (0.2, 0.2, 1.0),
}
#: Scores that are equal at these decimals of 0 to 100 are tied.
_DIGITS = 2


class WeightedScores(NamedTuple):
    """Scores of the rows of a board, from 0 to 100; NaN for a row that lacks a metric with a weight.

    Attributes:
        values: (n,) scores of the means.
        spans: (n, 2) ends of the 95 % intervals, from joint draws of the means.
        ranks: range of each candidate's rank among the candidates; None for others.
        positions: axis -> (n,) positions of the means on its scale.
        first: (n,) share of the draws in which the row is first among the candidates; NaN for others.
        first_at_random: the same with weights that are drawn uniformly, too.
    """

    values: np.ndarray
    spans: np.ndarray
    ranks: Sequence[tuple[int, int] | None]
    positions: Mapping[str, np.ndarray]
    first: np.ndarray
    first_at_random: np.ndarray


def axes_of(board: Board) -> dict[str, Column]:
    """Return axis -> its column: of the first metric that the board has, the column with the most rows."""
    columns: dict[str, Column] = {}
    for axis, metrics in AXES.items():
        for metric in metrics:
            candidates = [column for column in board.columns if column.metric == metric]
            if candidates:
                columns[axis] = max(candidates, key=lambda column: sum(column.key in row.metrics for row in board.rows))
                break
    return columns


def weighted_scores(
    rows: Sequence[Row], columns: Mapping[str, Column], draws: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> WeightedScores:
    """Return the scores of rows.

    Args:
        rows: n rows of one board.
        columns: axis -> its column.
        draws: axis -> (N, n) joint draws of the means.
        weights: axis -> weight, at least one above zero.
    """
    metric_of = {axis: column.metric for axis, column in columns.items()}
    means = {axis: _means(rows, column) for axis, column in columns.items()}
    by_metric = {metric_of[axis]: weight for axis, weight in weights.items()}
    values = 100 * weighted({metric_of[axis]: mean for axis, mean in means.items()}, by_metric)
    of_draws = 100 * weighted({metric_of[axis]: drawn for axis, drawn in draws.items()}, by_metric)
    candidates = [number for number, row in enumerate(rows) if is_candidate(row)]
    at_random = _at_random({axis: SCALES[metric_of[axis]].position(drawn) for axis, drawn in draws.items()})
    return WeightedScores(
        values=values,
        spans=intervals(of_draws),
        ranks=_ranks(of_draws, candidates),
        positions={axis: 100 * SCALES[metric_of[axis]].position(mean) for axis, mean in means.items()},
        first=_first_shares(of_draws, candidates),
        first_at_random=_first_shares(at_random, candidates),
    )


def _means(rows: Sequence[Row], column: Column) -> np.ndarray:
    return np.array(
        [row.metrics[column.key].mean if column.key in row.metrics else np.nan for row in rows], dtype=float
    )


def _at_random(positions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return (N, n) draws of the score with weights that are uniform on those that add up to 1."""
    stacked = np.stack(list(positions.values()))
    weights = generator_of(0, "weights").dirichlet(np.ones(len(stacked)), size=stacked.shape[1])
    scores: np.ndarray = 100 * np.einsum("da,adn->dn", weights, stacked)
    return scores


def _ranks(draws: np.ndarray, candidates: Sequence[int]) -> list[tuple[int, int] | None]:
    ranks: list[tuple[int, int] | None] = [None] * draws.shape[1]
    if candidates:
        rounded = np.round(draws[:, candidates], _DIGITS)
        for number, span in zip(candidates, rank_intervals(rounded, larger=True), strict=True):
            ranks[number] = span
    return ranks


def _first_shares(draws: np.ndarray, candidates: Sequence[int]) -> np.ndarray:
    """Return the share of draws in which each candidate has the largest value; those that are tied divide a draw."""
    shares = np.full(draws.shape[1], np.nan)
    compared = [number for number in candidates if not np.isnan(draws[:, number]).any()]
    if compared:
        rounded = np.round(draws[:, compared], _DIGITS)
        is_first = rounded == rounded.max(axis=1, keepdims=True)
        shares[compared] = (is_first / is_first.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
