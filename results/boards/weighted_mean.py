"""Weighted mean of several metrics on fixed reference scales.

Scaling each metric to the best and worst method present would let a method's score change because another one was
added. Here each metric has a fixed 0 and a fixed 1, independent of the methods present. A metric without a scale cannot
be weighted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values that map to 0 and to 1, in the metric's own unit (fractions, not percent).

    Attributes:
        worst: value that maps to 0.
        best: value that maps to 1.
        is_log: positions are those of the logarithms; both ends are positive.
    """

    worst: float
    best: float
    is_log: bool = False

    def position(self, value: np.ndarray | float) -> np.ndarray:
        """Return the position of values between the ends, clipped at 0 and 1; NaN stays NaN."""
        values, worst, best = np.asarray(value, dtype=np.float64), self.worst, self.best
        if self.is_log:
            # Clipped first: 0 has no logarithm.
            values, worst, best = np.log(np.clip(values, min(worst, best), None)), np.log(worst), np.log(best)
        return np.clip((values - worst) / (best - worst), 0.0, 1.0)


# Frozen: changing an end would change every aggregate already quoted. A better scale is a new SCALES_VERSION; another
# metric is not.
SCALES_VERSION = 1
SCALES: Mapping[str, Scale] = {
    **dict.fromkeys(("ms_score", "ms_score_adjusted", "win_rate", "r2", "accuracy", "agreement"), Scale(0.0, 1.0)),
    "kl": Scale(1.0, 0.0),  # nat
    **dict.fromkeys(("alive_fraction", "stability", "effective_rank_share", "unique_units"), Scale(0.0, 1.0)),
    **dict.fromkeys(("unit_overlap", "max_collinearity"), Scale(1.0, 0.0)),
    "ms_score_token_adjusted": Scale(0.0, 0.5),
    "fit_seconds": Scale(3600.0, 1.0, is_log=True),
    "encode_macs": Scale(100.0, 0.01, is_log=True),  # GMAC/image
}


def weighted(values: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Return ``sum_m w_m s_m / sum_m w_m`` with s_m the position of metric m on its frozen scale.

    Args:
        values: metric id -> (..., n) in the metric's own unit; NaN if a row lacks it.
        weights: metric id -> weight; metrics with weight 0 or below are ignored.

    Returns:
        (..., n) in [0, 1]; NaN for a row that lacks any metric with a weight: means over different metrics are not
        comparable.

    Raises:
        ValueError: no weight above zero, a metric without a scale, or one that has no values.
    """
    used = {metric: weight for metric, weight in weights.items() if weight > 0}
    if not used:
        raise ValueError("no metric has a weight above zero")
    for metric in used:
        if metric not in SCALES or metric not in values:
            raise ValueError(f"{metric!r} has no reference scale or no values")
    parts = [weight * SCALES[metric].position(values[metric]) for metric, weight in used.items()]
    mean: np.ndarray = np.sum(parts, axis=0) / sum(used.values())
    return mean
