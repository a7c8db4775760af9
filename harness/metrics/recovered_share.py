"""Share of a layer's effect that its reconstruction keeps, between mean ablation and the unmodified network."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from harness.metrics.base import Outcome, Score

#: Smallest effect of the layer, in its standard errors over the images, for which a share of it is defined.
LEAST_EFFECT = 2.0

#: Images that differ, added to the observed ones for the standard error: without them, an interval from one or two
#: images that differ is too narrow (95 % intervals of 100 images cover .72; with them .95 and more).
_ADDED = 2.0


def recovered_share(share: np.ndarray, original: np.ndarray, ablated: np.ndarray) -> tuple[float, float | None]:
    """Return ``R = (a - m) / (o - m)`` of three shares of the same images, and its standard error.

    The error is that of the linearised ratio, from the outcomes of each image: the standard deviation of
    ``(a_i - R o_i - (1 - R) m_i) / (o - m)``, as if two more images differed. It is therefore not 0 if none does.

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
    return value, math.sqrt(spread**2 / n + _ADDED / n**2) / effect


def recovered_scores(
    metric: str, outcome: Outcome, share: np.ndarray, original: np.ndarray, ablated: np.ndarray
) -> Iterator[Score]:
    """Yield the :func:`recovered_share` as the score ``<metric>_recovered``, with both levels in the details.

    An undefined one is not yielded, since it is undefined for all methods on this layer; a note says why.
    """
    value, error = recovered_share(share, original, ablated)
    levels = {"original": float(np.mean(original)), "mean_ablated": float(np.mean(ablated))}
    if math.isnan(value):
        outcome.notes.append(
            f"{metric}_recovered is left out: over {len(share)} images, the {metric} of the original "
            f"({levels['original']:.4g}) is not clearly above that of mean ablation ({levels['mean_ablated']:.4g})."
        )
        return
    # It may exceed 1, so it is not printed in percent.
    yield Score(f"{metric}_recovered", value, len(share), error, "images, paired", unit="", details=levels)
