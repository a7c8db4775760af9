"""Sensitivity of a first place to the weights of a weighted score, by the means alone.

A row is described by its positions p on the reference scales; its score with weights w (at least 0, sum 1) is p · w.
The weights with which a row is first form a convex polygon of the simplex of weights: its share of the simplex says how
often any weights choose the row, and its distance from the user's weights says how far these are from another choice.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

N_WEIGHTS = 10_000
#: Scores from 0 to 1 that differ by less are tied: differences of this size are rounding.
_TIE = 1e-9
_CHUNK = 4_000_000


class Change(NamedTuple):
    """Smallest change of the weights with which a row is first.

    Attributes:
        distance: total variation, ``sum_m |w'_m - w_m| / 2``: the share of the weight that has to move.
        weights: (K,) the changed weights, with which the row is tied for the first place; any further step in the same
            direction makes it first alone.
    """

    distance: float
    weights: np.ndarray


def weight_shares(positions: np.ndarray, *, n_draws: int = N_WEIGHTS, seed: int = 0) -> np.ndarray:
    """Return for each row the share of all weights with which it is first; rows that are tied divide it.

    Exact for one and two metrics: the share of the interval on which a line is the highest. From three metrics on, of
    `n_draws` weights that are uniform on the simplex (Dirichlet with all parameters 1); the standard error of a share s
    is ``sqrt(s (1 - s) / n_draws)``, at most .005 for 10,000.

    Args:
        positions: (n, K) finite positions of n rows in K metrics.
    """
    n, n_metrics = positions.shape
    if n == 0:
        return np.zeros(0)
    if n_metrics == 1:
        only: np.ndarray = _first(positions.T)[0]
        return only
    if n_metrics == 2:
        return _exact(positions)
    weights = np.random.default_rng([seed, zlib.crc32(b"weights")]).dirichlet(np.ones(n_metrics), size=n_draws)
    total = np.zeros(n)
    step = max(1, _CHUNK // n)
    for start in range(0, n_draws, step):
        total += _first(weights[start : start + step] @ positions.T).sum(axis=0)
    return total / n_draws


def _first(scores: np.ndarray) -> np.ndarray:
    """Return (draws, n): 1 for the row with the largest score of each draw; rows that are tied divide it."""
    is_first = scores >= scores.max(axis=1, keepdims=True) - _TIE
    shares: np.ndarray = is_first / is_first.sum(axis=1, keepdims=True)
    return shares


def _exact(positions: np.ndarray) -> np.ndarray:
    """Return the shares of the interval [0, 1] on which each line ``b + t (a - b)`` is the highest."""
    lines: dict[tuple[float, float], list[int]] = {}
    for number, (a, b) in enumerate(np.round(positions, 9).tolist()):
        lines.setdefault((a - b, b), []).append(number)
    # Lines of the upper envelope, flattest first, with the place from which each is the highest.
    hull: list[tuple[float, tuple[float, float]]] = []
    for line in sorted(lines):
        start = -math.inf
        while hull:
            before, other = hull[-1]
            if line[0] > other[0]:
                start = (other[1] - line[1]) / (line[0] - other[0])
                if start > before:
                    break
            hull.pop()
            start = -math.inf
        hull.append((start, line))
    shares = np.zeros(len(positions))
    ends = [start for start, _ in hull[1:]] + [math.inf]
    for (start, line), end in zip(hull, ends, strict=True):
        length = max(0.0, min(end, 1.0) - max(start, 0.0))
        shares[lines[line]] = length / len(lines[line])
    return shares


def least_changes(positions: np.ndarray, weights: Sequence[float] | np.ndarray) -> list[Change | None]:
    """Return for each row the smallest change of the weights that makes it first; None if no weights do.

    Rows with equal positions count as one. A row that is at best tied, whatever the weights, is never first. Each is
    the solution of a linear program.

    Args:
        positions: (n, K) finite positions.
        weights: (K,) at least 0, with sum 1.
    """
    return [_least_change(positions, number, np.asarray(weights, dtype=float)) for number in range(len(positions))]


def _least_change(positions: np.ndarray, number: int, weights: np.ndarray) -> Change | None:
    from scipy.optimize import linprog  # imported here: boards without weights do not need it

    n_metrics = positions.shape[1]
    ahead = np.unique(positions - positions[number], axis=0)
    ahead = ahead[np.abs(ahead).max(axis=1) > _TIE]
    if not len(ahead):
        return Change(0.0, weights)
    sums_to_one = np.concatenate([np.ones(n_metrics), [0.0]])[None]
    # The greatest lead over all others: the closure of weights with a lead is all weights without a deficit.
    lead = linprog(
        np.concatenate([np.zeros(n_metrics), [-1.0]]),
        A_ub=np.column_stack([ahead, np.ones(len(ahead))]),
        b_ub=np.zeros(len(ahead)),
        A_eq=sums_to_one,
        b_eq=[1.0],
        bounds=[(0, None)] * n_metrics + [(None, 1.0)],
    )
    if lead.status != 0 or -lead.fun <= _TIE:
        return None
    if (ahead @ weights <= _TIE).all():
        return Change(0.0, weights)
    identity = np.eye(n_metrics)
    moved = linprog(
        np.concatenate([np.zeros(n_metrics), np.full(n_metrics, 0.5)]),
        A_ub=np.block([[ahead, np.zeros_like(ahead)], [identity, -identity], [-identity, -identity]]),
        b_ub=np.concatenate([np.zeros(len(ahead)), weights, -weights]),
        A_eq=np.concatenate([np.ones(n_metrics), np.zeros(n_metrics)])[None],
        b_eq=[1.0],
        bounds=[(0, None)] * (2 * n_metrics),
    )
    if moved.status != 0:
        return None
    changed = np.clip(moved.x[:n_metrics], 0.0, 1.0)
    return Change(float(np.abs(changed - weights).sum() / 2), changed)
