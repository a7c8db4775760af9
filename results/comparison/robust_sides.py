"""Paired differences of accuracies under a disturbance, from what a store holds of each image and each draw.

A score such as ``robust_labels`` has in its details, for every evaluation image, the number of trials (levels times
draws) in which a probe predicts its class, and for every draw the accuracy over images. A difference of two such scores
is paired over both. With the difference :math:`g_i` of image i (a share of the trials) and :math:`g_d` of draw d, its
mean has the squared error

    var(g_i) / n + var(g_d) / D + 1 / n^2.

The last term is the variance of one more image that differs, as in `harness compare` (docs/comparing.md): few images
that differ would otherwise have too small an error. The interval is Student's t with the degrees of freedom of Welch
and Satterthwaite for the first two terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from results.boards.board import LARGEST

#: Most entries of a list in the details that are read.
MOST = 100_000
LEVEL = 0.95


class Difference(NamedTuple):
    """Mean difference with its 95 % interval; NaN if it is undefined."""

    value: float
    low: float
    high: float
    p: float | None
    """two-sided p-value of a difference of 0; None if it cannot be tested"""
    n: int
    """images"""
    n_draws: int
    is_paired: bool = True
    """False if the errors of both sides were added as if they were independent"""


UNDEFINED = Difference(math.nan, math.nan, math.nan, None, 0, 0)


class Side(NamedTuple):
    """Predictions of one probe under a disturbance."""

    images: np.ndarray
    """(n,) int64 index of each image in the split"""
    share: np.ndarray
    """(n,) share of the trials in which the image is predicted"""
    draws: np.ndarray
    """(D,) accuracy of each draw"""
    clean: np.ndarray
    """(n,) 1 for images that are predicted without a disturbance, else 0"""

    def fits(self, other: Side) -> bool:
        """Return whether both sides have the same images and as many draws."""
        return np.array_equal(self.images, other.images) and len(self.draws) == len(other.draws)


def side_of(score: Mapping[str, Any] | None) -> Side | None:
    """Return the predictions in the details of a score; None if they are missing, damaged, or do not give its value."""
    details = None if score is None else score.get("details")
    if score is None or not isinstance(details, Mapping):
        return None
    images, right, clean, draws = (_numbers(details.get(name)) for name in ("images", "right", "clean", "draws"))
    trials = details.get("trials")
    if images is None or right is None or clean is None or draws is None or not _is_count(trials):
        return None
    shares = right / trials
    value = score.get("value")
    is_whole = len(images) == len(right) == len(clean) > 0 and len(draws) > 0 and len(np.unique(images)) == len(images)
    in_range = all(((part >= 0) & (part <= 1)).all() for part in (shares, clean, draws))
    if not isinstance(value, float) or not is_whole or not in_range:
        return None
    if not all(math.isclose(float(part.mean()), value, abs_tol=1e-6) for part in (shares, draws)):
        return None
    return Side(images.astype(np.int64), shares, draws, clean)


def _numbers(value: Any) -> np.ndarray | None:
    """Return a list of finite numbers as float64; None if it is something else or too long."""
    if not isinstance(value, list) or len(value) > MOST:
        return None
    if not all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value):
        return None
    numbers = np.asarray(value, dtype=np.float64)
    return numbers if bool((np.abs(numbers) < 2**53).all()) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53


def gain_of(codes: Side, layer: Side) -> Difference:
    """Return the accuracy of one side less that of the other, paired over images and draws; sides must fit."""
    return student(codes.share - layer.share, codes.draws - layer.draws)


def gain_beyond_clean(codes: Side, layer: Side) -> Difference:
    """Return the gain less that without a disturbance: how much less accuracy the first side loses; sides must fit."""
    clean = codes.clean - layer.clean
    return student(codes.share - layer.share - clean, codes.draws - layer.draws - clean.mean())


def student(of_images: np.ndarray, of_draws: np.ndarray) -> Difference:
    """Return the mean difference with its interval.

    Args:
        of_images: (n,) difference of each image.
        of_draws: (D,) difference of each draw.
    """
    n, n_draws = len(of_images), len(of_draws)
    value = float(of_images.mean()) if n else math.nan
    if n < 2:
        return Difference(value, math.nan, math.nan, None, n, n_draws)
    parts = [(float(of_images.var(ddof=1)) / n, n - 1)]
    if n_draws > 1:
        parts.append((float(of_draws.var(ddof=1)) / n_draws, n_draws - 1))
    squares = sum(part**2 / freedom for part, freedom in parts)
    total = sum(part for part, _ in parts)
    # All differences equal: the rest of the error has no degrees of freedom of its own.
    freedom = total**2 / squares if squares > 0 else float(n - 1)
    return _interval(value, math.sqrt(total + 1 / n**2), freedom, n, n_draws)


def _interval(
    value: float, error: float, freedom: float, n: int, n_draws: int, *, is_paired: bool = True
) -> Difference:
    reach = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return Difference(value, value - reach, value + reach, p, n, n_draws, is_paired)


def from_error(value: Any, error: Any, n: Any) -> Difference:
    """Return the difference of a score that has a standard error alone, with n - 1 degrees of freedom.

    It is undefined if the value is no finite number; without an error it has no interval.
    """
    if not _is_finite(value):
        return UNDEFINED
    count = int(n) if _is_finite(n) and 0 <= n < 2**53 else 0
    if count < 2 or not _is_finite(error) or error < 0:
        return Difference(float(value), math.nan, math.nan, None, count, 1)
    return _interval(float(value), math.sqrt(error**2 + 1 / count**2), count - 1, count, 1)


def unpaired(first: Difference, second: Difference) -> Difference:
    """Return the difference of two differences, with errors added as if they were independent."""
    value, n = first.value - second.value, min(first.n, second.n)
    if n < 2 or not all(math.isfinite(side.high - side.low) for side in (first, second)):
        return Difference(value, math.nan, math.nan, None, n, 1, False)
    errors = [(side.high - side.low) / (2 * float(stdtrit(side.n - 1, 0.5 + LEVEL / 2))) for side in (first, second)]
    return _interval(value, math.hypot(*errors), n - 1, n, 1, is_paired=False)


def _is_finite(value: Any) -> bool:
    # The square of a larger number may exceed float64; only a damaged store has one.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
