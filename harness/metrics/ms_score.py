"""MS score: how alike are the images that drive a unit most, in the layer's own space (ELUDe paper, eq. 7)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import UserError
from harness.metrics.base import METRICS, Metric, Outcome, Score

# Weights of pairs, as a share of all squares, below which nothing but rounding is left of eq. 7's differences.
_LEAST_PAIRS = 1e-10

# Units whose top images are embedded at once: 128 x 100 x 768 float64 are 79 MB.
_UNITS_AT_ONCE = 128


def ms_score(embeddings: Tensor, weights: Tensor) -> float:
    """Weighted mean pairwise cosine similarity, without the pairs of an image with itself.

    ``MS = (|sum_i w_i e_i|^2 - sum_i w_i^2) / ((sum_i w_i)^2 - sum_i w_i^2)`` for e_i of unit length (eq. 7).

    Args:
        embeddings: (n, d), normalised inside.
        weights: (n,) non-negative.

    Returns:
        A value in [-1, 1]; NaN where it is undefined (fewer than two positive weights, all but one of them nothing
        beside it, or a zero embedding that carries weight).

    Raises:
        UserError: for shapes that do not fit.
    """
    if embeddings.ndim != 2 or weights.shape != embeddings.shape[:1]:
        raise UserError(
            f"ms_score: embeddings {tuple(embeddings.shape)}, weights {tuple(weights.shape)}; not (n, d) and (n,)."
        )
    return float(ms_scores(embeddings[None], weights[None])[0])


def ms_scores(embeddings: Tensor, weights: Tensor) -> Tensor:
    """:func:`ms_score` of many units at once: (U, n, d) and (U, n) to (U,) float64."""
    weights = weights.double()
    vectors = embeddings.double()
    norms = vectors.norm(dim=-1, keepdim=True)
    # A zero vector has no direction: where it carries weight the score is undefined, elsewhere it does not matter.
    lost = ((norms[..., 0] == 0) & (weights != 0)).any(-1)
    directions = vectors / torch.where(norms > 0, norms, 1.0)
    squares = (weights**2).sum(-1)
    pairs = weights.sum(-1) ** 2 - squares
    summed = (weights[:, None] @ directions)[:, 0]
    value = ((summed**2).sum(-1) - squares) / pairs
    # One positive weight leaves no pair; rounding would make 0/0 a number, and so it does beside one that is so large
    # that the others vanish.
    defined = ((weights > 0).sum(-1) >= 2) & (pairs > _LEAST_PAIRS * squares) & ~lost & torch.isfinite(weights).all(-1)
    return torch.where(defined, value.clamp(-1, 1), torch.nan)


@METRICS.register()
class MSScore(Metric):
    """Mean MS score over the units that are alive on the evaluation split.

    A unit's images are its top ones by maximum activation over tokens; each is embedded by the original layer output
    at the token of that maximum and weighted by the activation there, min-max normalised over all tokens of the
    split. Dead units (never positive) are left out, undefined scores are counted.

    The companions: ``ms_score_null``, what images drawn at random would score, namely the mean cosine between tokens
    of different images (the expectation of eq. 7 for embeddings that do not depend on the weights, computed exactly);
    ``ms_score_adjusted = (MS - null) / (1 - null)``; ``ms_score_undefined``, the number of undefined units.
    """

    id = "ms_score"
    title = "MS score"
    reference = "ELUDe paper, eq. 7 and App. B.2, after Pach et al. 2025"

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": self.baseline.top_images}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        values = self._per_unit(outcome)
        outcome.unit_columns["ms_score"] = values.numpy()
        alive = outcome.units.alive
        scored = alive & ~values.isnan()
        n = int(scored.sum())
        null = self.baseline.null_similarity
        mean = float(values[scored].mean()) if n else math.nan
        error, kind = outcome.error_over_units(values, scored)
        yield self.score(mean, n, error, kind)
        # Where all tokens are alike there is nothing to adjust for.
        room = 1 - null if null < 1 else math.nan
        spread = None if error is None or math.isnan(room) else error / room
        yield Score("ms_score_adjusted", (mean - null) / room, n, spread, kind, self.unit, "higher")
        yield Score("ms_score_null", null, self.baseline.n_images, direction="none")
        yield Score(
            "ms_score_undefined",
            float((alive & values.isnan()).sum()),
            int(alive.sum()),
            unit="units",
            direction="none",
        )

    def _per_unit(self, outcome: Outcome) -> Tensor:
        """(n_units,) float64 scores, NaN for dead units and where undefined."""
        units = outcome.units
        weights = units.weights()
        values = torch.full((units.n_units,), torch.nan, dtype=torch.float64)
        for chosen in torch.split(torch.nonzero(units.alive)[:, 0], _UNITS_AT_ONCE):
            rows = self.baseline.rows(units.top_image[:, chosen], units.top_token[:, chosen])
            unique, place = np.unique(rows.numpy(), return_inverse=True)
            embedded = self.baseline.tokens.gather("output", unique)
            stacked = embedded[torch.from_numpy(place.reshape(rows.shape)).T]
            values[chosen] = ms_scores(stacked, weights[:, chosen].T)
        return values
