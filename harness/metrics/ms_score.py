"""MS score: similarity of a unit's top images in the layer's output space (ELUDe paper, eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.inputs import in_range, require_real

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from harness.activations.unit_statistics import UnitStatistics

# Weight of pairs, relative to the sum of squares, below which the differences in eq. 7 are only rounding error.
_LEAST_PAIRS = 1e-10

# Number of units whose top images are embedded at once: 128 x 100 x 768 float64 are 79 MB.
_UNITS_AT_ONCE = 128


def ms_score(embeddings: Tensor, weights: Tensor) -> float:
    """Return the weighted mean pairwise cosine similarity, without the pairs of an image with itself.

    ``MS = (|sum_i w_i e_i|^2 - sum_i w_i^2) / ((sum_i w_i)^2 - sum_i w_i^2)`` for e_i of unit length (eq. 7).

    Args:
        embeddings: (n, d), of any length; they are normalised.
        weights: (n,) non-negative.

    Returns:
        A value in [-1, 1]. It is NaN if it is undefined: for fewer than two positive weights, if one weight is so large
        that the others are negligible, if a zero embedding has a nonzero weight, or if NaN or infinity occurs anywhere.

    Raises:
        ArgumentError: if the shapes do not match, the numbers are not real, or a weight is negative.
    """
    require_real("ms_score", embeddings=embeddings, weights=weights)
    if embeddings.ndim != 2 or weights.shape != embeddings.shape[:1]:
        raise ArgumentError(
            f"ms_score: embeddings {tuple(embeddings.shape)} and weights {tuple(weights.shape)} must have the shapes "
            "(n, d) and (n,)."
        )
    if bool((weights < 0).any()):
        raise ArgumentError(f"ms_score: weights contain {float(weights.min())}; they must not be negative.")
    # On one device, whichever that is; the score depends neither on the lengths nor on the sum of the weights.
    scaled = in_range(weights[None].to(embeddings.device))
    return float(ms_scores(in_range(embeddings)[None], scaled)[0])


def ms_scores(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Return the :func:`ms_score` of many units: (U, n, d) and (U, n) to (U,) float64."""
    weights = weights.double()
    vectors = embeddings.double()
    norms = vectors.norm(dim=-1, keepdim=True)
    # A zero vector has no direction, so the score is undefined if its weight is nonzero.
    lost = ((norms[..., 0] == 0) & (weights != 0)).any(-1)
    directions = vectors / torch.where(norms > 0, norms, 1.0)
    squares = (weights**2).sum(-1)
    pairs = weights.sum(-1) ** 2 - squares
    summed = (weights[:, None] @ directions)[:, 0]
    value = ((summed**2).sum(-1) - squares) / pairs
    # A single positive weight has no pair, and the ratio is 0/0, which rounding would turn into a number. The same is
    # true if one weight is so large that the others vanish.
    defined = ((weights > 0).sum(-1) >= 2) & (pairs > _LEAST_PAIRS * squares) & ~lost & torch.isfinite(weights).all(-1)
    return torch.where(defined, value.clamp(-1, 1), torch.nan)


def unit_ms_scores(units: UnitStatistics, baseline: Baseline) -> Tensor:
    """Return the (n_units,) float64 MS score of each unit's top images, NaN for dead units and undefined scores."""
    weights = units.weights()
    values = torch.full((units.n_units,), torch.nan, dtype=torch.float64)
    for chosen in torch.split(torch.nonzero(units.alive)[:, 0], _UNITS_AT_ONCE):
        rows = baseline.rows(units.top_image[:, chosen], units.top_token[:, chosen])
        unique, position = np.unique(rows.numpy(), return_inverse=True)
        embedded = baseline.tokens.gather("output", unique)
        stacked = embedded[torch.from_numpy(position.reshape(rows.shape)).T]
        values[chosen] = ms_scores(stacked, weights[:, chosen].T)
    return values


@METRICS.register()
class MSScore(Metric):
    """Mean MS score over the units that are alive on the evaluation split.

    A unit's images are its top ones by maximum activation over tokens. Each is embedded by the original layer output at
    the token of that maximum, and weighted by the activation there, min-max normalised over all tokens of the split.
    Dead units (never positive) are excluded, and undefined scores are counted. Companion: ``ms_score_undefined``, the
    number of undefined units. What chance gives is another metric, ``ms_score_null``.
    """

    id = "ms_score"
    title = "MS score"
    reference = "ELUDe paper, eq. 7 and App. B.2, after Pach et al. 2025"

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": self.baseline.top_images}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        yield from self.unit_scores(outcome, unit_ms_scores(outcome.units, self.baseline))
