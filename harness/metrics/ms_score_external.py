"""External MS score: similarity of a unit's images in the space of another network (Pach et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.inputs import require_real

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from methods.base import Method

# Range of a unit's codes, relative to their size, below which min-max normalised weights are only rounding error.
_LEAST_RANGE = 1e-9


def ms_score_external(embeddings: Tensor, activations: Tensor) -> Tensor:
    """Return the MS score of units over all pairs of images (Pach et al. 2025).

    ``sum_{i<j} w_i w_j cos(e_i, e_j) / sum_{i<j} w_i w_j``, where w are a unit's activations, min-max normalised over
    the images. It is computed in O(n d) per unit, as
    ``(|sum_i w_i e_i|^2 - sum_i w_i^2) / ((sum_i w_i)^2 - sum_i w_i^2)``.

    Args:
        embeddings: (n, d) of any length; they are normalised.
        activations: (n, n_units).

    Returns:
        (n_units,) float64 in [-1, 1]. NaN if it is undefined: for a unit with equal activations on all images, or
        with fewer than two above the smallest.

    Raises:
        ArgumentError: if the shapes do not match, or a number is NaN or infinite or an embedding zero.
    """
    require_real("ms_score_external", embeddings=embeddings, activations=activations)
    if embeddings.ndim != 2 or activations.ndim != 2 or len(embeddings) != len(activations):
        raise ArgumentError(
            f"ms_score_external: embeddings {tuple(embeddings.shape)} and activations {tuple(activations.shape)} must "
            "have the shapes (n, d) and (n, n_units)."
        )
    norms = embeddings.double().norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(activations).all()) or not bool((torch.isfinite(norms) & (norms > 0)).all()):
        raise ArgumentError("ms_score_external: activations must be finite, and embeddings finite and not zero.")
    pairs = AllPairs()
    pairs.update(embeddings.double() / norms, activations)
    return pairs.compute()


class AllPairs:
    """Streaming MS score over all pairs of images, in one pass: memory is one float64 matrix (n_units, d).

    With ``w = (x - m) / r``, m the smallest activation and r the range: the sum of w e follows from the sums of x e and
    of e, and the sum of w^2 from those of x and x^2.
    """

    def __init__(self) -> None:
        self.n = 0
        self._weighted = self._embedded = self._sum = self._squares = torch.zeros(0, dtype=torch.float64)
        self._low = self._high = self._shift = torch.zeros(0, dtype=torch.float64)

    def update(self, embeddings: Tensor, activations: Tensor) -> None:
        """Add images: embeddings (B, d) of unit length, and activations (B, n_units), on one device."""
        e, x = embeddings.double(), activations.double()
        if not self.n:
            # Differences from the first image: sums of squares of a large common value would cancel.
            self._shift = x[0].clone()
            self._weighted = x.new_zeros((x.shape[1], e.shape[1]))
            self._embedded = x.new_zeros(e.shape[1])
            self._sum = self._squares = x.new_zeros(x.shape[1])
            self._low, self._high = torch.full_like(self._shift, math.inf), torch.full_like(self._shift, -math.inf)
        x = x - self._shift
        self.n += len(x)
        self._weighted += x.T @ e
        self._embedded += e.sum(0)
        self._sum = self._sum + x.sum(0)
        self._squares = self._squares + (x**2).sum(0)
        self._low = torch.minimum(self._low, x.amin(0))
        self._high = torch.maximum(self._high, x.amax(0))

    def compute(self) -> Tensor:
        """Return the scores (n_units,) float64, NaN where they are undefined."""
        if self.n < 2:
            return torch.full(self._shift.shape, torch.nan, dtype=torch.float64)
        low, size = self._low, self._high - self._low
        scale = torch.maximum((self._low + self._shift).abs(), (self._high + self._shift).abs())
        weights = self._sum - self.n * low
        squares = self._squares - 2 * low * self._sum + self.n * low**2
        summed = self._weighted - low[:, None] * self._embedded
        pairs = weights**2 - squares
        value = ((summed**2).sum(1) - squares) / pairs
        defined = (size > _LEAST_RANGE * scale) & (pairs > _LEAST_RANGE * squares)
        return torch.where(defined, value.clamp(-1, 1), torch.nan).cpu()

    def mean_similarity(self) -> float:
        """Return the mean cosine over all pairs of images; NaN for fewer than two."""
        if self.n < 2:
            return math.nan
        return (float((self._embedded**2).sum()) - self.n) / (self.n * (self.n - 1))


@METRICS.register()
class MSScoreExternal(Metric):
    """Mean over units of the similarity of their images to a network that has not been decomposed.

    For each unit, the mean cosine over all pairs of evaluation images, weighted by the product of both activations,
    which are the largest over the tokens and min-max normalised over the images. Images are embedded by another
    backbone (``evaluation.encoder`` of the suite): units cannot be similar only because they were found in the space in
    which similarity is measured. Units without a positive activation are dead and excluded, and so are units with equal
    activations on all images, which ``ms_score_external_undefined`` counts.

    A unit that is a little active everywhere gets the mean similarity of all images,
    ``ms_score_external_null``, whatever it means; ``ms_score_external_adjusted`` is ``(M - N) / (1 - N)`` of the mean M
    and this level N: 0 for random activations, 1 for equal images.
    """

    id = "ms_score_external"
    title = "MS score in another network"
    reference = "Pach et al. 2025 (Sparse Autoencoders Learn Monosemantic Features in Vision-Language Models), eq. 9"
    default = False
    needs_network = False
    needs_encoder = True

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        assert baseline.external is not None
        self.external = baseline.external
        self.pairs = AllPairs()

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return baseline.external is not None

    @property
    def params(self) -> dict[str, Any]:
        return {"encoder": self.external.encoder, "encoder_identity": self.external.fingerprint}

    def update(self, batch: Batch) -> None:
        embeddings = self.external.embeddings[batch.image]
        readable = torch.isfinite(embeddings).all(1)
        if bool(readable.any()):
            device = batch.peak.device
            self.pairs.update(embeddings[readable].to(device), batch.peak[readable.to(device)])

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        values = torch.where(outcome.units.alive, self.pairs.compute(), torch.nan)
        mean, undefined = self.unit_scores(outcome, values)
        null = self.pairs.mean_similarity()
        yield mean
        yield undefined
        yield Score("ms_score_external_null", null, self.pairs.n, unit="fraction", direction="none")
        if null < 1:
            value = (mean.value - null) / (1 - null)
            error = None if mean.uncertainty is None else mean.uncertainty / (1 - null)
            yield Score("ms_score_external_adjusted", value, mean.n, error, mean.uncertainty_kind)
