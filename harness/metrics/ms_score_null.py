"""Chance level of the MS score, unit by unit, and what is left of the score above it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.ms_score import unit_ms_scores
from harness.metrics.token_kinds import KindSimilarity, kind_shares, token_kinds

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline

#: Distance of the chance level from 1 below which the rounding of float32 cosines decides the adjusted score.
_LEAST_ROOM = 1e-6

# Number of units that are summed at once: 2048 x 768 float64 are 13 MB.
_UNITS_AT_ONCE = 2048


class PeakSimilarity:
    """Mean cosine between the images on which a unit is active, each embedded at the unit's own token, in one pass.

    With e_i the unit-length output at the token of the unit's maximum on image i, and S the sum over the n images on
    which the unit is positive, it is ``(|S|^2 - n) / (n (n - 1))``. Memory is one float64 matrix (n_units, d_out).

    Attributes:
        n: (n_units,) int64 number of images on which each unit is active.
        without_direction: (n_units,) int64 number of these at which the output is the zero vector.
    """

    def __init__(self) -> None:
        self.n = self.without_direction = torch.zeros(0, dtype=torch.int64)
        self._sum = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, outputs: Tensor, peak: Tensor, token: Tensor) -> None:
        """Add images: outputs (B, T, d), and the value and token (B, n_units) of each unit's maximum."""
        n_images, n_tokens, width = outputs.shape
        if not len(self.n):
            self.n = torch.zeros(peak.shape[1], dtype=torch.int64, device=outputs.device)
            self.without_direction = torch.zeros_like(self.n)
            self._sum = outputs.new_zeros((peak.shape[1], width), dtype=torch.float64)
        # Sums of a batch in float32 are several times faster, and off by about 1e-7; they are added up in float64.
        rows = outputs.flatten(0, 1).float()
        norms = torch.linalg.vector_norm(rows, dim=1)
        directions = rows / torch.where(norms > 0, norms, 1.0)[:, None]
        active = (peak > 0).T
        # Row of each unit's token in each image (n_units, B): sums of rows then need no copy per unit and image.
        chosen = (torch.arange(n_images, device=token.device)[:, None] * n_tokens + token).T.contiguous()
        self.n += active.sum(1)
        self.without_direction += (active & (norms == 0)[chosen]).sum(1)
        weights = active.float()
        for start in range(0, len(chosen), _UNITS_AT_ONCE):
            part = slice(start, start + _UNITS_AT_ONCE)
            self._sum[part] += functional.embedding_bag(
                chosen[part], directions, mode="sum", per_sample_weights=weights[part]
            )

    def compute(self) -> Tensor:
        """Return the (n_units,) float64 similarities.

        They are NaN for units that are active on fewer than two images, or on one whose output there is the zero
        vector, which has no direction.
        """
        n = self.n.double().cpu()
        squares = (self._sum**2).sum(1).cpu()
        defined = (n >= 2) & (self.without_direction.cpu() == 0)
        return torch.where(defined, (squares - n) / (n * (n - 1)), torch.nan).clamp(-1, 1)


class AdjustedScore(NamedTuple):
    """Score above chance of some units."""

    value: float
    """``(M - N) / (1 - N)`` of the means M of the scores and N of the chance levels; NaN if undefined"""
    n: int
    """number of units with both"""
    pseudo: Tensor
    """(n_units,) value of each unit whose mean is the score, and whose spread gives its standard error"""


def adjusted_score(score: Tensor, null: Tensor, chosen: Tensor) -> AdjustedScore:
    """Return the score above chance of the ``chosen`` units (bool) from their scores and chance levels (n_units,).

    It is a ratio of means: with a mean of ratios, one unit whose chance level is near 1 would decide the score. The
    pseudo-values are the linearised ratio, ``A + (m - M) / (1 - N) + (M - 1) (null - N) / (1 - N)^2``.
    """
    chosen = chosen & ~score.isnan() & ~null.isnan()
    n = int(chosen.sum())
    mean, level = float(score[chosen].mean()), float(null[chosen].mean())
    room = 1 - level if 1 - level > _LEAST_ROOM else math.nan
    value = (mean - level) / room
    pseudo = value + (score - mean) / room + (mean - 1) / room**2 * (null - level)
    return AdjustedScore(value, n, torch.where(chosen, pseudo, torch.nan))


@METRICS.register()
class MSScoreNull(Metric):
    """Mean over units of the MS score that random images would have at the unit's own tokens, and the score above it.

    A unit's chance level is the mean cosine over all pairs of images on which the unit is active, each embedded as in
    the MS score, at the token of the unit's maximum: the expectation of eq. 7 if the activations said nothing about the
    images beyond that. It is computed exactly. A unit that is active on fewer than two images, or at a zero vector, is
    undefined.

    Companions:

    - ``ms_score_null_undefined``: the number of these units.
    - ``ms_score_adjusted``: ``(M - N) / (1 - N)`` of the means M of the MS score and N of the chance level, over the
      units with both. It measures what the strongest images have beyond the other active ones, so it falls with the
      share of images on which a unit is active: compare it between codes of equal density only. Details: M and N;
      ``active_share``, the mean share of active images; ``adjusted_patch``, without units that peak at CLS or register
      tokens; ``adjusted_common``, over the units that are active on more images than the MS score uses.
    - ``ms_score_token_adjusted``: the same with the level of random images among all, at a random token of the kind
      (CLS, a register, or a patch) at which the unit peaks. It does not depend on the density of the codes.
    - ``ms_score_patch`` and ``ms_score_cls``: the mean MS score of the units that peak at patch tokens, and at CLS or
      register tokens (more than half of their top images). The latter is missing if the layer has no such tokens. They
      have no direction: a method chooses how many units are in each group, which may be a few.
    """

    id = "ms_score_null"
    version = 2
    title = "similarity of the images on which a unit is active"
    direction = "none"
    reference = "expectation of ELUDe paper, eq. 7, for random images at the unit's own tokens"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.similarity = PeakSimilarity()
        self.kinds = token_kinds(baseline.passes.site.positions(baseline.n_tokens))
        self.kind_similarity = KindSimilarity(self.kinds)

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": self.baseline.top_images}

    def update(self, batch: Batch) -> None:
        self.similarity.update(batch.a, batch.peak, batch.peak_token)
        self.kind_similarity.update(batch.a)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        units = outcome.units
        stored = outcome.unit_columns.get("ms_score")
        score = unit_ms_scores(units, self.baseline) if stored is None else torch.from_numpy(stored)
        null = self.similarity.compute()
        mean, undefined = self.unit_scores(outcome, null)
        zeros = int((self.similarity.without_direction > 0).sum())
        yield mean._replace(details={"units_at_zero_vectors": zeros} if zeros else None)
        yield undefined
        shares = kind_shares(self.kinds, units.top_token, units.top_value > 0)
        prefix = shares[:, :-1].sum(1)
        outcome.unit_columns["prefix_share"] = prefix.numpy()
        both = ~score.isnan() & ~null.isnan()
        active = self.similarity.n.cpu()
        details: dict[str, Any] = {"active_share": _mean(active.double() / units.n_images, both)}
        for name, chosen in (("patch", prefix <= 0.5), ("common", active > self.baseline.top_images)):
            group = adjusted_score(score, null, chosen)
            details.update({f"adjusted_{name}": _json(group.value), f"n_{name}": group.n})
        yield _adjusted_score("ms_score_adjusted", outcome, score, null, details)
        kind_null = torch.einsum("uk,kl,ul->u", shares, self.kind_similarity.compute(), shares)
        outcome.unit_columns["ms_score_token_null"] = kind_null.numpy()
        yield _adjusted_score("ms_score_token_adjusted", outcome, score, kind_null, {})
        # The share is NaN for dead units, which are in neither group.
        yield _group_score("ms_score_patch", outcome, score, null, prefix <= 0.5)
        if shares.shape[1] > 1:
            yield _group_score("ms_score_cls", outcome, score, null, prefix > 0.5)


def _adjusted_score(metric: str, outcome: Outcome, score: Tensor, null: Tensor, details: dict[str, Any]) -> Score:
    """Return the score above chance of all units with a score and a chance level, with both means in the details."""
    both = ~score.isnan() & ~null.isnan()
    adjusted = adjusted_score(score, null, both)
    error, kind = outcome.error_over_units(adjusted.pseudo, both)
    error = None if math.isnan(adjusted.value) else error
    details = {"ms_score": _mean(score, both), "ms_score_null": _mean(null, both), **details}
    return Score(metric, adjusted.value, adjusted.n, error, kind, details=details)


def _group_score(metric: str, outcome: Outcome, score: Tensor, null: Tensor, chosen: Tensor) -> Score:
    """Return the mean MS score of the ``chosen`` units (bool), with their score above chance in the details."""
    chosen = chosen & ~score.isnan()
    adjusted = adjusted_score(score, null, chosen)
    error, kind = outcome.error_over_units(score, chosen)
    details = {"adjusted": _json(adjusted.value), "n_adjusted": adjusted.n}
    value = float(score[chosen].mean())
    return Score(metric, value, int(chosen.sum()), error, kind, direction="none", details=details)


def _mean(values: Tensor, chosen: Tensor) -> float | None:
    return _json(float(values[chosen].mean()))


def _json(value: float) -> float | None:
    """Return a value for ``details``, which hold None instead of NaN."""
    return None if math.isnan(value) else value
