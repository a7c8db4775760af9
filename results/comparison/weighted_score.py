"""Weighted score of a board's rows: its interval, how often each row is first, and how that depends on the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from results.boards.board import Column, Row
from results.boards.ranking import is_candidate
from results.boards.reference_scales import SCALES
from results.boards.uncertainty import intervals, rank_intervals
from results.boards.weight_sensitivity import least_changes, weight_shares
from results.boards.weighted_mean import normalised, positions, weighted
from results.comparison.joint_draws import generator_of

#: Scores of draws that are equal at these decimals of 0 to 100 are tied.
_DIGITS = 2
#: Scores of means that differ by less, of 0 to 100, are tied.
_TIE = 1e-7


class Nearest(NamedTuple):
    """Row that needs the smallest change of the weights to be first, of those that are not."""

    row: int
    distance: float
    """total variation: the share of the weight that has to move"""
    weights: Mapping[str, float]
    """the changed weights, which add up to 1"""


class WeightedScores(NamedTuple):
    """Scores of the n rows of a board, from 0 to 100; NaN for a row that lacks a metric with a weight.

    Attributes:
        values: (n,) scores of the means.
        spans: (n, 2) ends of the 95 % intervals, from joint draws of the means.
        ranks: range of each candidate's rank among the candidates; None for others.
        positions: name -> (n,) positions of the means on its scale, from 0 to 100.
        first: (n,) share of the draws in which the row is first among the candidates; NaN for others.
        first_at_random: the same with weights that are drawn uniformly, too.
        weight_shares: (n,) share of all weights with which the row is first by its means; NaN for a row that is no
            candidate or lacks a metric (`results.boards.weight_sensitivity`).
        changes: (n,) smallest change of the weights with which it is first by its means, as total variation; infinity
            if no weights do, NaN as above.
        nearest: of the rows that are not first; None if there is none.
    """

    values: np.ndarray
    spans: np.ndarray
    ranks: Sequence[tuple[int, int] | None]
    positions: Mapping[str, np.ndarray]
    first: np.ndarray
    first_at_random: np.ndarray
    weight_shares: np.ndarray
    changes: np.ndarray
    nearest: Nearest | None


def weighted_scores(
    rows: Sequence[Row], columns: Mapping[str, Column], draws: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> WeightedScores:
    """Return the scores of rows.

    Args:
        rows: n rows of one board.
        columns: name (a metric or a dimension) -> its column; the metric has a reference scale.
        draws: name -> (N, n) joint draws of the means.
        weights: name -> weight, at least one above zero. "All weights" are those of all names, also of a name with
            weight 0.

    Raises:
        ValueError: no weight above zero, or a metric without a scale.
    """
    placed = {name: positions(rows, column.metric, _means(rows, column)) for name, column in columns.items()}
    placed_draws = {name: positions(rows, column.metric, draws[name]) for name, column in columns.items()}
    of_draws = 100 * weighted(placed_draws, weights)
    candidates = [number for number, row in enumerate(rows) if is_candidate(row)]
    shares, changes, nearest = _sensitivity(np.stack(list(placed.values()), axis=1), candidates, list(columns), weights)
    return WeightedScores(
        values=100 * weighted(placed, weights),
        spans=intervals(of_draws),
        ranks=_ranks(of_draws, candidates),
        positions={name: 100 * values for name, values in placed.items()},
        first=_first_shares(of_draws, candidates),
        first_at_random=_first_shares(_at_random(placed_draws), candidates),
        weight_shares=shares,
        changes=changes,
        nearest=nearest,
    )


def lacking(row: Row, columns: Mapping[str, Column], weights: Mapping[str, float]) -> list[str]:
    """Return why a row has no score: each metric with a weight that it lacks, with the reason if it has a value."""
    reasons = []
    for name, column in columns.items():
        if not weights.get(name):
            continue
        if column.key not in row.metrics:
            reasons.append(column.key)
        elif SCALES[column.metric].resolved(row.floors) is None:
            reasons.append(f"position in {column.key}: {SCALES[column.metric].missing}")
    return reasons


def controls_above(rows: Sequence[Row], scores: WeightedScores) -> list[int]:
    """Return the controls whose score is higher than that of the best candidate."""
    of_candidates = [
        value for row, value in zip(rows, scores.values.tolist(), strict=True) if is_candidate(row) and value == value
    ]
    best = max(of_candidates, default=np.inf)
    return [n for n, row in enumerate(rows) if row.group == "control" and scores.values[n] > best]


def _means(rows: Sequence[Row], column: Column) -> np.ndarray:
    return np.array(
        [row.metrics[column.key].mean if column.key in row.metrics else np.nan for row in rows], dtype=float
    )


def _at_random(placed: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return (N, n) draws of the score with weights that are uniform on those that add up to 1."""
    stacked = np.stack(list(placed.values()))
    weights = generator_of(0, "weights").dirichlet(np.ones(len(stacked)), size=stacked.shape[1])
    scores: np.ndarray = 100 * np.einsum("da,adn->dn", weights, stacked)
    return scores


def _sensitivity(
    placed: np.ndarray, candidates: Sequence[int], names: Sequence[str], weights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, Nearest | None]:
    """Return the shares of weights (n,), the smallest changes (n,), and the nearest row of positions (n, K)."""
    shares, changes = np.full(len(placed), np.nan), np.full(len(placed), np.nan)
    compared = [number for number in candidates if not np.isnan(placed[number]).any()]
    if not compared:
        return shares, changes, None
    used = normalised(weights)
    vector = np.array([used.get(name, 0.0) for name in names])
    shares[compared] = weight_shares(placed[compared])
    of_rows = dict(zip(compared, least_changes(placed[compared], vector), strict=True))
    changes[compared] = [np.inf if change is None else change.distance for change in of_rows.values()]
    scores = 100 * placed @ vector
    best = max(scores[number] for number in compared)
    behind = {
        number: change for number, change in of_rows.items() if change is not None and scores[number] < best - _TIE
    }
    if not behind:
        return shares, changes, None
    number = min(behind, key=lambda row: (behind[row].distance, row))
    changed = dict(zip(names, behind[number].weights.tolist(), strict=True))
    return shares, changes, Nearest(number, behind[number].distance, changed)


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
