"""Area under the frontier of one method's settings: the best value for each cost, over the logarithm of the cost.

The settings of a method are points (x, y), such as L0 and R2. Its frontier is their upper envelope: through the points
that no other one with a cost at most as large reaches, in straight lines over log x, and level from the last of them to
the largest cost, because more units than needed may be allowed. The area between two costs is ::

    A = 1 / log(high / low) * integral from log low to log high of y(x) d log x

the mean height, in the unit of y. It is exact for the envelope (trapezoids). A part of the range outside of a method's
costs is not extrapolated: the area is then undefined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Envelope(NamedTuple):
    """Upper envelope of points: K corners with rising costs.

    Attributes:
        x: (K,) costs, rising.
        y: (K,) values, rising, but for the last corner, which may repeat the one before.
        points: (K,) number of the point that each corner's value is of.
    """

    x: np.ndarray
    y: np.ndarray
    points: tuple[int, ...]

    def height(self, x: np.ndarray) -> np.ndarray:
        """Return the values at costs within the range, in straight lines over log x."""
        heights: np.ndarray = np.interp(np.log(x), np.log(self.x), self.y)
        return heights


def envelope(x: Sequence[float], y: Sequence[float]) -> Envelope:
    """Return the upper envelope of at least one point with finite values and x > 0."""
    order = sorted(range(len(x)), key=lambda number: (x[number], -y[number], number))
    corners = [order[0]]
    for number in order[1:]:
        if y[number] > y[corners[-1]]:
            corners.append(number)
    costs, values = [x[number] for number in corners], [y[number] for number in corners]
    if x[order[-1]] > costs[-1]:
        corners, costs, values = [*corners, corners[-1]], [*costs, x[order[-1]]], [*values, values[-1]]
    return Envelope(np.array(costs, dtype=float), np.array(values, dtype=float), tuple(corners))


def area(curve: Envelope, low: float, high: float) -> float:
    """Return the mean height of an envelope between two costs within its range, `low` below `high`."""
    inside = curve.x[(curve.x > low) & (curve.x < high)]
    x = np.concatenate([[low], inside, [high]])
    y, steps = curve.height(x), np.diff(np.log(x))
    return float(((y[1:] + y[:-1]) / 2 * steps).sum() / steps.sum())


def shared_range(ranges: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the range that all of `ranges` contain; None if they share no more than one cost, or there are none."""
    if not ranges:
        return None
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    return (low, high) if math.log(high) - math.log(low) > 1e-9 else None
