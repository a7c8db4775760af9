"""Mean of a curve over the logarithm of its argument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def log_weights(points: Sequence[float]) -> list[float]:
    """Return the weights of the values at ``points`` in their mean over the logarithm, by trapezoids; they sum to 1.

    Args:
        points: positive and ascending; at least one.
    """
    if len(points) == 1:
        return [1.0]
    logs = np.log(np.asarray(points, dtype=float))
    steps = np.diff(logs) / (logs[-1] - logs[0])
    return [float(x) for x in (np.append(steps, 0.0) + np.append(0.0, steps)) / 2]
