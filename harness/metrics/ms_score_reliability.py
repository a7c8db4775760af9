"""Split-half reliability of the MS score: agreement of the units' scores from two halves of the images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.unit_statistics import UnitStatistics
from harness.identity import seed_of
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.ms_score import unit_ms_scores
from harness.metrics.token_kinds import kind_shares, token_kinds

#: Permutations of the units of one half.
DRAWS = 200
# Fewest units with a correlation.
_LEAST_UNITS = 3
# Relative difference of scores that may be due to rounding: equal units need not have equal bits.
_ROUNDING = 1e-12


class Reliability(NamedTuple):
    """Split-half reliability of some units' scores."""

    value: float
    """:func:`corrected` r; NaN if undefined"""
    r: float
    """Pearson correlation of the halves; NaN for fewer than three units, or if the scores of a half are all equal"""
    n: int
    """number of units with a score in both halves"""
    pseudo: Tensor
    """(n_units,) value of each unit whose mean is :attr:`value` and whose spread gives its standard error"""


def split_half_reliability(first: Tensor, second: Tensor) -> Reliability:
    """Return the reliability of scores (n_units,) from their values in two halves, NaN for units without a score.

    The pseudo-values are the linearised estimate: with standardised scores x and y, the influence of a unit on r is
    ``x y - r (x^2 + y^2) / 2``, and the slope of the correction is ``2 / (1 + |r|)^2``.
    """
    both = ~first.isnan() & ~second.isnan()
    n = int(both.sum())
    pseudo = torch.full(first.shape, torch.nan, dtype=torch.float64)
    x, y = _standardised(first[both]), _standardised(second[both])
    if n < _LEAST_UNITS or bool(x.isnan().any()) or bool(y.isnan().any()):
        return Reliability(math.nan, math.nan, n, pseudo)
    r = min(max(float((x * y).mean()), -1.0), 1.0)
    value = corrected(r)
    pseudo[both] = value + (x * y - r * (x**2 + y**2) / 2) * (2 / (1 + abs(r)) ** 2)
    return Reliability(value, r, n, pseudo)


def corrected(r: float) -> float:
    """Return the reliability of the whole from the correlation r of its halves (Spearman and Brown 1910).

    It is ``2 r / (1 + r)``. A negative r is chance, because no variance is negative, and the formula then goes to
    -infinity. So it is extended as ``2 r / (1 + |r|)``, which is within [-1, 1], and 0 on average if r is symmetric.
    """
    return 2 * r / (1 + abs(r))


def _standardised(values: Tensor) -> Tensor:
    """Return values (n,) with mean 0 and mean square 1, float64; NaN if they are all equal, up to rounding."""
    values = values.double()
    if not len(values) or bool(values.amax() - values.amin() <= _ROUNDING * values.abs().amax()):
        return torch.full_like(values, torch.nan)
    centred = values - values.mean()
    return centred / (centred**2).mean().sqrt()


def half_of_images(index: np.ndarray) -> np.ndarray:
    """Return the images of the first half, a seeded random choice of half of ``index`` (n,), rounded down; ascending.

    It depends on the images only, so all methods are measured on the same halves.
    """
    generator = np.random.default_rng(seed_of("halves of the images", "ms_score_reliability"))
    return np.sort(generator.permutation(index)[: len(index) // 2])


@METRICS.register()
class MSScoreReliability(Metric):
    """Split-half reliability of the units' MS scores, corrected for the length of the halves; no direction.

    The evaluation images are split into two random halves (seeded, the same for every method). A unit's MS score is
    computed in each half by itself, with half as many top images. r is the Pearson correlation of the two over the
    units with a score in both, and the reliability is ``2 r / (1 + |r|)``, for r >= 0 the estimate of Spearman and
    Brown for the score of all images. It is the share of the variance *between units* that another sample of images
    would reproduce: near 0, a list of the best units is a list of chance. It says nothing about the mean over units,
    and it is low if the units' true scores differ little, so it has no direction. Pearson, because the correction
    follows from variances; Spearman's rank correlation is in the details.

    The standard error is that of the linearised estimate over units, clustered by parent; it is for these two halves,
    and does not include the choice of the images. It is too small if units of different parents share their top images.

    Details: ``r``; ``rank_correlation``; ``half_means``, the mean score in each half; ``unit_spread``, the standard
    deviation over units of the mean of both halves; ``unit_error``, half the standard deviation of their difference,
    which is the error of such a mean from the choice of the images, also if the units' true scores are equal;
    ``patch``, the reliability without units that peak at CLS or register tokens in the first half, whose scores are
    high for any images; ``n_patch``, the number of units of ``patch``.

    Companions:

    - ``ms_score_reliability_null``: the mean with the units of one half permuted (200 seeded draws), about 0. Details:
      ``spread``, the standard deviation of r in these draws; it is about ``1 / sqrt(n - 1)``.
    - ``ms_score_reliability_undefined``: the number of alive units without a score in one of the halves.
    """

    id = "ms_score_reliability"
    title = "split-half reliability of the MS score"
    unit = ""
    direction = "none"
    reference = "Spearman 1910; Brown 1910; MS score: ELUDe paper, eq. 7"
    default = False
    needs_network = False

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.top_images = max(2, baseline.top_images // 2)
        self.first_half = torch.from_numpy(half_of_images(baseline.index))
        self.halves: list[UnitStatistics] = []

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": self.top_images}

    def update(self, batch: Batch) -> None:
        if not self.halves:
            n_units = batch.codes.shape[-1]
            self.halves = [UnitStatistics(n_units, self.top_images) for _ in range(2)]
        in_first = torch.isin(batch.image, self.first_half.to(batch.image.device))
        for half, chosen in zip(self.halves, (in_first, ~in_first), strict=True):
            if bool(chosen.any()):
                half.update(batch.codes[chosen.to(batch.codes.device)], batch.image[chosen])

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        n_units = outcome.units.n_units
        halves = self.halves or [UnitStatistics(n_units, self.top_images) for _ in range(2)]
        first, second = (unit_ms_scores(half, self.baseline) for half in halves)
        result = split_half_reliability(first, second)
        both = ~first.isnan() & ~second.isnan()
        error, kind = outcome.error_over_units(result.pseudo, both)
        error = None if math.isnan(result.value) else error
        patch = split_half_reliability(torch.where(self._at_patches(halves[0]), first, torch.nan), second)
        details = {
            "r": _json(result.r),
            "rank_correlation": _json(split_half_reliability(_ranks(first, both), _ranks(second, both)).r),
            "half_means": [_json(float(half[both].mean())) for half in (first, second)],
            "unit_spread": _deviation((first + second)[both] / 2),
            "unit_error": _deviation((first - second)[both] / 2),
            "patch": _json(patch.value),
            "n_patch": patch.n,
        }
        yield self.score(result.value, result.n, error, kind)._replace(details=details)
        yield self._null(first[both], second[both])
        alive = int(outcome.units.alive.sum())
        missing = f"{self.id}_undefined"
        yield Score(missing, float(alive - result.n), alive, unit="units", direction="none")

    def _at_patches(self, half: UnitStatistics) -> Tensor:
        """Return (n_units,) bool: at most half of the unit's top images have their maximum at CLS or a register."""
        kinds = token_kinds(self.baseline.passes.site.positions(self.baseline.n_tokens))
        shares = kind_shares(kinds, half.top_token, half.top_value > 0)
        return shares[:, :-1].sum(1) <= 0.5

    def _null(self, first: Tensor, second: Tensor) -> Score:
        """Return the mean reliability with the units of one half permuted, of scores (n,) without NaN."""
        name, n = f"{self.id}_null", len(first)
        x, y = _standardised(first), _standardised(second)
        if n < _LEAST_UNITS or bool(x.isnan().any()) or bool(y.isnan().any()):
            return Score(name, math.nan, n, unit="", direction="none")
        generator = torch.Generator().manual_seed(seed_of("permuted units", self.id))
        r = [float((x * y[torch.randperm(n, generator=generator)]).mean()) for _ in range(DRAWS)]
        values = np.array([corrected(one) for one in r])
        error = float(values.std(ddof=1) / math.sqrt(DRAWS))
        details = {"spread": float(np.std(r)), "draws": DRAWS}
        return Score(name, float(values.mean()), n, error, "permutations", "", "none", details)


def _ranks(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the ranks of the ``chosen`` values (n_units,), equal ones with their mean rank; NaN for the others."""
    _, position, count = torch.unique(values[chosen], return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    ranks = torch.full_like(values, torch.nan)
    ranks[chosen] = (last - (count - 1) / 2)[position]
    return ranks


def _deviation(values: Tensor) -> float | None:
    """Return the standard deviation of values (n,), or None for fewer than two."""
    return float(values.std()) if len(values) > 1 else None


def _json(value: float) -> float | None:
    """Return a value for ``details``, which hold None instead of NaN."""
    return None if math.isnan(value) else value
