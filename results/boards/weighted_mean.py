"""Weighted mean of the positions of several metrics on the fixed scales of :mod:`results.boards.reference_scales`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from results.boards.board import Row
from results.boards.reference_scales import SCALES


def positions(rows: Sequence[Row], metric: str, values: np.ndarray) -> np.ndarray:
    """Return the positions (..., n) of values (..., n) of n rows on the scale of a metric.

    NaN for a row without a value, or without the floors of the scale.

    Raises:
        ValueError: the metric has no scale.
    """
    if metric not in SCALES:
        raise ValueError(f"{metric!r} has no reference scale")
    placed = np.full(values.shape, np.nan)
    for number, row in enumerate(rows):
        if (scale := SCALES[metric].resolved(row.floors)) is not None:
            placed[..., number] = scale.position(values[..., number])
    return placed


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights above zero, divided by their sum.

    Raises:
        ValueError: no weight is above zero.
    """
    largest = max(weights.values(), default=0.0)
    if not largest > 0:
        raise ValueError("no metric has a weight above zero")
    # Divided by the largest first: the sum of large weights may be infinite.
    scaled = {name: weight / largest for name, weight in weights.items() if weight > 0}
    total = sum(scaled.values())
    return {name: weight / total for name, weight in scaled.items()}


def weighted(placed: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Return ``sum_m w_m s_m / sum_m w_m`` with s_m the positions of metric m.

    Args:
        placed: name -> (..., n) positions; NaN if a row lacks the metric.
        weights: name -> weight; metrics with weight 0 or below are ignored.

    Returns:
        (..., n) in [0, 1]; NaN for a row that lacks any metric with a weight: means over different metrics are not
        comparable.

    Raises:
        ValueError: no weight above zero, or a metric that has no positions.
    """
    shares = normalised(weights)
    if absent := [name for name in shares if name not in placed]:
        raise ValueError(f"{absent[0]!r} has no values")
    mean: np.ndarray = np.sum([share * placed[name] for name, share in shares.items()], axis=0)
    return mean
