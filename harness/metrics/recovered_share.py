"""Share of a layer's effect that its reconstruction keeps, between mean ablation and the unmodified network."""

from __future__ import annotations

import math

import numpy as np

from harness.metrics.base import Score

#: Smallest effect of the layer, in its standard errors over the images, for which a share of it is defined.
LEAST_EFFECT = 2.0


def recovered_share(share: np.ndarray, original: np.ndarray, ablated: np.ndarray) -> tuple[float, float | None]:
    """Return ``R = (a - m) / (o - m)`` of three shares of the same images, and its standard error.

    The error is that of the linearised ratio, from the outcomes of each image: the standard deviation of
    ``(a_i - R o_i - (1 - R) m_i) / (o - m)``. As in a Wilson interval, it is not 0 if no image differs.

    Args:
        share: (n,) bool outcomes of the replaced layer, whose share of positive ones is a.
        original: (n,) bool outcomes of the unmodified network, o.
        ablated: (n,) bool outcomes with the layer's output set to its mean, m.

    Returns:
        NaN and None if o - m is at most :data:`LEAST_EFFECT` of its own standard errors: the share is then a
        quotient of two differences that may both be 0.
    """
    n = len(share)
    a, o, m = (side.astype(np.float64) for side in (share, original, ablated))
    effect = float(np.mean(o - m)) if n else 0.0
    if n < 2 or effect <= LEAST_EFFECT * float(np.std(o - m, ddof=1)) / math.sqrt(n):
        return math.nan, None
    value = float(np.mean(a - m)) / effect
    spread = float(np.std(a - value * o - (1 - value) * m, ddof=1))
    return value, math.sqrt(spread**2 / n + 1 / (4 * n * n)) / (1 + 1 / n) / effect


def recovered_score(metric: str, share: np.ndarray, original: np.ndarray, ablated: np.ndarray) -> Score:
    """Return the :func:`recovered_share` as a score, with the two levels and the defined effect in the details."""
    value, error = recovered_share(share, original, ablated)
    details = {"original": float(np.mean(original)), "mean_ablated": float(np.mean(ablated))}
    # It may exceed 1, so it is not printed in percent.
    return Score(metric, value, len(share), error, "images, paired", unit="", details=details)
