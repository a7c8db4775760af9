"""Fréchet distance between the distributions of the layer's output and of its reconstruction, as Gaussians."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.errors import ArgumentError
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.inputs import require_finite, require_real
from harness.metrics.r2 import GroupEstimate
from methods.base import Method
from methods.requirements import is_finite

_GROUPS = 10
#: Widest layer with a jackknife, which keeps two covariances per group of images: 168 MB for ten groups of 1024.
WIDEST_JACKKNIFE = 1024


def frechet_distance(a: Tensor, a_hat: Tensor, *, relative: bool = True) -> float:
    """Return the Fréchet distance between the rows of ``a`` (n, d) and ``a_hat`` (m, d), each taken as a Gaussian.

    ``|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))`` for the means mu, mu' and the covariances S, S' (normalised by the
    number of rows). It is the squared 2-Wasserstein distance of the two Gaussians (Dowson and Landau 1982). If row i of
    ``a_hat`` reconstructs row i of ``a``, it is at most the mean of ``|a - a_hat|^2``, and relative at most ``fvu``.

    Args:
        a: rows of the reference.
        a_hat: rows that are compared with it; their order does not matter.
        relative: divide by ``tr S``, so that the value does not depend on the scale of the layer.

    Returns:
        A value of at least 0. It is NaN without rows, and relative to rows ``a`` that are all equal.

    Raises:
        ArgumentError: if the shapes do not match, or a value or its square is not a finite real number.
    """
    call = "frechet_distance"
    require_real(call, a=a, a_hat=a_hat)
    if a.ndim != 2 or a_hat.ndim != 2 or a.shape[1] != a_hat.shape[1]:
        raise ArgumentError(
            f"{call}: a {tuple(a.shape)} and a_hat {tuple(a_hat.shape)} must have the shapes (n, d) and (m, d)."
        )
    require_finite(call, a=a, a_hat=a_hat)
    first, second = Moments().update(a), Moments().update(a_hat.to(a.device))
    if not (is_finite(first.scatter) and is_finite(second.scatter)):
        raise ArgumentError(f"{call}: squares of a or a_hat exceed the range of float64; divide both by a constant.")
    distance = distance_of(first, second)
    return distance.relative if relative else distance.value


class Moments:
    """Running mean and scatter matrix of rows, in float64 about the running mean (Chan et al. 1983).

    Memory is one matrix (d, d), on the device of the rows.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.scatter = torch.zeros((), dtype=torch.float64)

    def update(self, rows: Tensor) -> Moments:
        """Add rows (n, d)."""
        added = Moments()
        added.count = len(rows)
        if added.count:
            values = rows.detach().double()
            added.mean = values.mean(0)
            centred = values - added.mean
            added.scatter = centred.T @ centred
        return self.merge(added)

    def merge(self, other: Moments) -> Moments:
        """Add the rows of another accumulator."""
        if not other.count:
            return self
        count = self.count + other.count
        delta = other.mean - self.mean
        between = torch.outer(delta, delta) if self.count else torch.zeros_like(other.scatter)
        self.scatter = self.scatter + other.scatter + between * (self.count * other.count / count)
        self.mean = self.mean + delta * (other.count / count)
        self.count = count
        return self

    def covariance(self) -> Tensor:
        """Return the (d, d) covariance, normalised by the number of rows."""
        return self.scatter / self.count


class Distance(NamedTuple):
    """Fréchet distance of two Gaussians."""

    value: float
    of_means: float
    """the part ``|mu - mu'|^2``"""
    total: float
    """``tr S`` of the first"""

    @property
    def relative(self) -> float:
        """Distance as a fraction of ``tr S``; NaN if that is 0."""
        return self.value / self.total if self.total > 0 else math.nan


def distance_of(first: Moments, second: Moments) -> Distance:
    """Return the distance of two sets of rows, NaN if one is empty.

    Rounding can make the distance of equal Gaussians negative, by about 1e-15 of their variance; it is then 0.
    """
    if not first.count or not second.count:
        return Distance(math.nan, math.nan, math.nan)
    s, s_hat = first.covariance(), second.covariance()
    total, total_hat = float(s.trace()), float(s_hat.trace())
    of_means = float(((first.mean - second.mean) ** 2).sum())
    value = of_means + total + total_hat - 2 * trace_of_root(s, s_hat)
    rounding = 64 * len(s) * torch.finfo(torch.float64).eps * (total + total_hat)
    return Distance(value if value > rounding else 0.0, of_means, total)


def trace_of_root(s: Tensor, s_hat: Tensor) -> float:
    """Return ``tr (S S')^(1/2)`` of two positive semidefinite matrices (d, d), which may be singular.

    It is the sum of the singular values of ``S^(1/2) S'^(1/2)``, or of ``L^(1/2) V^T V' L'^(1/2)`` for ``S = V L V^T``.
    The roots of the eigenvalues of the product would turn rounding errors of 1e-16 at singular directions into 1e-8.
    """
    left, right = _root_factor(s), _root_factor(s_hat)
    return float(torch.linalg.svdvals(left.T @ right).sum()) if left.shape[1] and right.shape[1] else 0.0


def _root_factor(s: Tensor) -> Tensor:
    """Return ``V L^(1/2)`` (d, r) of the r eigenvalues that are above rounding."""
    values, vectors = torch.linalg.eigh(s)
    kept = values > len(s) * torch.finfo(s.dtype).eps * values.amax().clamp_min(0)
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor


@METRICS.register()
class FrechetDistance(Metric):
    """Fréchet distance between the layer's output and its reconstruction over all tokens, as a fraction of variance.

    It is ``|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))`` over ``tr S``, with means and covariances over all tokens of
    the evaluation split (CLS and registers included), streamed in float64. The fraction is the main value: it compares
    layers of different scale, is 1 for a reconstruction by the mean, and is at most ``fvu``, which has the same
    denominator. Unlike ``fvu`` it compares distributions instead of tokens: a reconstruction that exchanges tokens, or
    adds what it lost as noise, has a distance near 0. Lower is better. It is exactly 0 below a rounding error of
    ``64 d 2^-52`` of the variance, as for lossless methods.

    The standard error is a jackknife over ten groups of images, with the groups of ``r2``, so that differences are
    paired. Layers wider than 1024 have none, because it needs two covariances per group. Details: ``of_means``, the
    share of the value that is due to the means; ``without_group``.

    Companions:

    - ``frechet_distance_absolute``: the same in squared units of the layer's output.
    - ``frechet_distance_floor``: the distance between the outputs of the even- and of the odd-numbered images, over the
      same ``tr S``: what two samples of half the size differ by. A method below it changes the distribution less than
      another choice of images.
    """

    id = "frechet_distance"
    title = "Fréchet distance of the reconstruction"
    # It has no upper bound, so it is not printed in percent.
    unit = ""
    direction = "lower"
    reference = "Dowson and Landau 1982; of network features: Heusel et al. 2017"
    default = False
    needs_network = False

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.a: list[Moments] = []
        self.a_hat: list[Moments] = []

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        # A virtual method returns the original output, so its reconstruction is meaningless.
        return not method.spec.virtual

    def update(self, batch: Batch) -> None:
        if not self.a:
            # Both numbers are even, so that the two halves are groups of even and of odd images.
            n_groups = _GROUPS if batch.a.shape[-1] <= WIDEST_JACKKNIFE else 2
            self.a, self.a_hat = [Moments() for _ in range(n_groups)], [Moments() for _ in range(n_groups)]
        group = batch.image % len(self.a)
        for one in torch.unique(group).tolist():
            images = (group == one).to(batch.a.device)
            self.a[one].update(batch.a[images].flatten(0, 1))
            self.a_hat[one].update(batch.a_hat[images].flatten(0, 1))

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        used = [number for number, moments in enumerate(self.a) if moments.count]
        whole = self._distance(used)
        without = [
            self._distance([other for other in used if other != number]).relative
            for number in (used if len(self.a) == _GROUPS else ())
        ]
        n = sum(moments.count for moments in self.a)
        of_means = whole.of_means / whole.value if whole.value > 0 else None
        if without:
            yield GroupEstimate(whole.relative, without, n).score(self.id, self.direction, self.unit, of_means=of_means)
        else:
            yield self.score(whole.relative, n)._replace(details={"of_means": of_means})
        absolute = f"{self.id}_absolute"
        yield Score(absolute, whole.value, n, unit="", direction="none", details={"variance": whole.total})
        halves = distance_of(*(merged(self.a[half::2]) for half in (0, 1)))
        floor = halves.value / whole.total if whole.total > 0 else math.nan
        yield Score(f"{self.id}_floor", floor, n, unit="", direction="none")

    def _distance(self, groups: Sequence[int]) -> Distance:
        return distance_of(merged([self.a[one] for one in groups]), merged([self.a_hat[one] for one in groups]))


def merged(groups: Iterable[Moments]) -> Moments:
    """Return the moments of the rows of all groups."""
    whole = Moments()
    for group in groups:
        whole.merge(group)
    return whole
