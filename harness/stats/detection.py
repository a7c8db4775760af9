"""Scores of detections: balanced accuracy per unit, and its mean over units and judges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

#: Fewer valid answers than this on either side give no score.
MIN_ANSWERS = 2


class Detections(NamedTuple):
    """Valid answers of one judge on the images of one unit."""

    n_positive: int = 0
    """on images that show the unit's concept if it has one: its held-out top images"""
    n_negative: int = 0
    true_positives: int = 0
    true_negatives: int = 0

    @classmethod
    def of(cls, answers: Iterable[tuple[bool, str | None]]) -> Detections:
        """Count (is a positive, answer "yes" or "no"); an answer None is invalid or missing, and left out."""
        valid = [(positive, answer == "yes") for positive, answer in answers if answer is not None]
        yes = [said for positive, said in valid if positive]
        no = [not said for positive, said in valid if not positive]
        return cls(len(yes), len(no), sum(yes), sum(no))

    @property
    def balanced_accuracy(self) -> float | None:
        """``(true positives / positives + true negatives / negatives) / 2``; None with too few on a side."""
        if min(self.n_positive, self.n_negative) < MIN_ANSWERS:
            return None
        return (self.true_positives / self.n_positive + self.true_negatives / self.n_negative) / 2

    @property
    def variance(self) -> float | None:
        """Variance of the balanced accuracy for other images of the unit; None without one.

        ``(p (1 - p) / n + q (1 - q) / m) / 4`` with the shares p of n positives and q of m negatives, each with half a
        right and half a wrong answer added (Jeffreys), so that it is not 0 if all answers are right.
        """
        if self.balanced_accuracy is None:
            return None
        counts = ((self.true_positives, self.n_positive), (self.true_negatives, self.n_negative))
        shares = [((right + 0.5) / (n + 1), n) for right, n in counts]
        return sum(share * (1 - share) / n for share, n in shares) / 4


class JudgedMean(NamedTuple):
    """Mean over judges of each judge's mean over units."""

    value: float
    uncertainty: float | None
    """standard error for other units of the method; None with units of fewer than two clusters"""
    n: int
    """units that at least one judge scored"""
    n_clusters: int
    low: float = 0.0
    """smallest value that is possible; the largest one is 1"""

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return Student's interval, with one degree of freedom less than there are clusters; None without an error."""
        if self.uncertainty is None:
            return None
        reach = float(stdtrit(self.n_clusters - 1, (1 + level) / 2)) * self.uncertainty
        return max(self.low, self.value - reach), min(1.0, self.value + reach)


def mean_over_judges(
    scores: np.ndarray, clusters: np.ndarray, variances: np.ndarray | None = None, *, low: float = 0.0
) -> JudgedMean | None:
    """Return the mean over judges of the mean over units of ``scores`` (judges, units), NaN where there is none.

    The judges see the same units, and parts of one neuron are not independent, so the error is that of clusters of
    units. With ``m_j`` the mean of judge j over its ``n_j`` scored units, cluster g changes the value by
    ``d_g = 1/J sum_j sum_{u in g} (s_ju - m_j) / n_j``, and the variance is ``G / (G - 1) sum_g d_g^2`` for G clusters.
    For one judge, this is :func:`harness.stats.clustered_standard_error`. It is at least
    ``1/J^2 sum_ju v_ju / n_j^2`` with the variances ``v`` of single scores: equal scores of a few units say little.

    Args:
        scores: (judges, units).
        clusters: (units,) name of each unit's cluster.
        variances: (judges, units) of the scores for other images; None: 0.
        low: smallest possible mean.

    Returns:
        None if a judge has scored no unit: the mean over the others would be of another panel.
    """
    scored = ~np.isnan(scores)
    counts = scored.sum(axis=1)
    if not len(scores) or not counts.all():
        return None
    means = np.nansum(scores, axis=1) / counts
    changes = np.where(scored, scores - means[:, None], 0.0) / counts[:, None]
    used = scored.any(axis=0)
    names, member = np.unique(np.asarray(clusters)[used], return_inverse=True)
    n_clusters = len(names)
    error = None
    if n_clusters > 1:
        sums = np.bincount(member, weights=changes.mean(axis=0)[used], minlength=n_clusters)
        least = 0.0
        if variances is not None:
            weighted = np.where(scored, variances, 0.0) / counts[:, None] ** 2
            least = float(weighted.sum()) / len(scores) ** 2
        error = math.sqrt(max(n_clusters / (n_clusters - 1) * float(np.sum(sums**2)), least))
    return JudgedMean(float(means.mean()), error, int(used.sum()), n_clusters, low)
