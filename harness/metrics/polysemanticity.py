"""Polysemanticity index: degree to which a unit's top images form groups of different meaning.

This is an interpretation of the index of Gupta and Kumar, of which only the abstract was available: cluster geometry x
label alignment x distinctness of a unit's top embeddings, each measured relative to random image sets of the same size.
docs/metrics.md lists what is stated there and what is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.random_sets import LabelledTop, labelled_classes, labelled_top, random_images
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from methods.base import Method

TOP = 20
#: Minimum number of images: fewer cannot form two groups that differ from chance.
SMALLEST = 4
DRAWS = 400
# Number of units whose top images are embedded at once: 256 x 20 x 768 float64 are 31 MB.
_UNITS_AT_ONCE = 256


class IndexFactors(NamedTuple):
    """The three factors of the index for U sets of n images, before calibration."""

    geometry: Tensor
    """(U,) share of the embeddings' scatter that is between the two groups, in [0, 1]"""
    alignment: Tensor
    """(U,) share of the grouping that the labels explain, ``I(group; label) / H(group)``, in [0, 1]"""
    distinctness: Tensor
    """(U,) mean cosine distance between two embeddings, in [0, 2]"""


def parts_of(gram: Tensor, label: Tensor) -> IndexFactors:
    """Return the factors of the index for sets of n >= 2 images with cosines (U, n, n) and classes (U, n).

    The two groups are the signs of the leading eigenvector of the centred Gram matrix, the relaxation of 2-means
    (Ding and He 2004); an entry of zero belongs to the second group.
    """
    gram = gram.double()
    n = gram.shape[-1]
    distinctness = (1 - (gram.sum((-1, -2)) - gram.diagonal(dim1=-2, dim2=-1).sum(-1)) / (n * (n - 1))).clamp_min(0)
    centred = gram - gram.mean(-1, keepdim=True) - gram.mean(-2, keepdim=True) + gram.mean((-1, -2), keepdim=True)
    total = centred.diagonal(dim1=-2, dim2=-1).sum(-1)
    leading = torch.linalg.eigh(centred).eigenvectors[..., -1]
    first = (leading > 0).double()
    size = first.sum(-1)
    # For groups of k and n - k centred points with sums s and -s, the scatter between is |s|^2 (1 / k + 1 / (n - k)).
    summed = torch.einsum("ui,uij,uj->u", first, centred, first)
    both = (size > 0) & (size < n) & (total > 1e-9 * n)
    between = summed * n / (size * (n - size)).clamp_min(1)
    geometry = torch.where(both, (between / total.clamp_min(1e-30)).clamp(0, 1), 0.0)
    return IndexFactors(geometry, torch.where(both, _alignment(first, label), 0.0), distinctness)


def _alignment(first: Tensor, label: Tensor) -> Tensor:
    """Return (U,) ``I(group; label) / H(group)`` of groups (U, n) in {0, 1} and labels (U, n); 0 for a single group."""
    n = label.shape[1]
    same = (label[:, :, None] == label[:, None, :]).double()
    in_label = same.sum(-1)
    in_group = torch.where(first > 0, first.sum(-1, keepdim=True), n - first.sum(-1, keepdim=True))
    together = torch.where(
        first > 0, torch.einsum("uij,uj->ui", same, first), torch.einsum("uij,uj->ui", same, 1 - first)
    )
    information = (together * n / (in_label * in_group)).log().mean(-1)
    entropy = -(in_group / n).log().mean(-1)
    return torch.where(entropy > 0, information / entropy.clamp_min(1e-30), 0.0).clamp(0, 1)


def calibrated(parts: IndexFactors, null: IndexFactors) -> Tensor:
    """Return the (U,) index of sets, relative to random sets of the same size.

    The index is ``max(0, (g - g0) / (1 - g0)) * max(0, (l - l0) / (1 - l0)) * min(1, d / d0)``, with g0, l0, d0 the
    means over the random sets. It is 0 for a set that is not more clustered than a random one, whose groups do not
    match the classes better, or whose images are all the same. It is 1 for two tight groups of different classes that
    are as far apart as random images.
    """

    def above(value: Tensor, chance: Tensor) -> Tensor:
        level = chance.mean()
        return ((value - level) / (1 - level).clamp_min(1e-9)).clamp(0, 1)

    variety = (parts.distinctness / null.distinctness.mean().clamp_min(1e-9)).clamp(0, 1)
    return above(parts.geometry, null.geometry) * above(parts.alignment, null.alignment) * variety


@METRICS.register()
class Polysemanticity(Metric):
    """Mean over units of the null-calibrated polysemanticity index of the top-20 images; lower is better.

    Images and embeddings are those of the MS score: the layer's original output at the token of the unit's maximum.
    Only labelled images on which the unit is active count. Units with fewer than four are undefined, and dead units are
    excluded. Random sets have random images, with a random token of each (400 seeded draws per size). Companions:
    ``polysemanticity_null``, the index of the random sets, which is above 0 because its factors are clipped at 0;
    ``polysemanticity_undefined``, the number of undefined alive units. The metric is skipped if fewer than two classes
    are labelled.
    """

    id = "polysemanticity"
    title = "polysemanticity index (our reading)"
    unit = ""
    direction = "lower"
    reference = "our reading of the abstract of Gupta and Kumar 2025 (arXiv 2508.16950); docs/metrics.md"

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return labelled_classes(baseline.images.labels) > 1

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": min(TOP, self.baseline.top_images)}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        units, labels = outcome.units, self.baseline.images.labels
        top = labelled_top(units, labels, TOP)
        sizes = torch.where(units.alive, top.size, 0)
        values = torch.full((units.n_units,), torch.nan, dtype=torch.float64)
        present = [size for size in sizes.unique().tolist() if size >= SMALLEST]
        null_gram, null_label = self._random_sets(present[-1]) if present else (torch.zeros(0), torch.zeros(0))
        levels = []
        for size in present:
            random_parts = parts_of(null_gram[:, :size, :size], null_label[:, :size])
            same_size = torch.nonzero(sizes == size)[:, 0]
            levels.append(float(calibrated(random_parts, random_parts).mean()) * len(same_size))
            for chosen in torch.split(same_size, _UNITS_AT_ONCE):
                gram = self._gram(outcome, top, chosen, size)
                values[chosen] = calibrated(parts_of(gram, top.label[chosen, :size]), random_parts)
        score, undefined = self.unit_scores(outcome, values)
        yield score
        null = sum(levels) / score.n if score.n else math.nan
        yield Score("polysemanticity_null", null, score.n, unit="", direction="none")
        yield undefined

    def _gram(self, outcome: Outcome, top: LabelledTop, chosen: Tensor, size: int) -> Tensor:
        """Return the (len(chosen), size, size) cosines of the units' top embeddings."""
        positions = top.order[chosen, :size].T
        image = outcome.units.top_image[:, chosen].gather(0, positions)
        token = outcome.units.top_token[:, chosen].gather(0, positions)
        return self._cosines(self.baseline.rows(image, token).T)

    def _random_sets(self, size: int) -> tuple[Tensor, Tensor]:
        """Return cosines (DRAWS, size, size) and labels (DRAWS, size) of random images, at a random token of each."""
        labels = self.baseline.images.labels
        candidates = self.baseline.index[labels[self.baseline.index] >= 0]
        image = random_images(candidates, size, DRAWS, purpose="polysemanticity")
        generator = np.random.default_rng(seed_of("random tokens", "polysemanticity"))
        token = torch.from_numpy(generator.integers(self.baseline.n_tokens, size=image.shape))
        return self._cosines(self.baseline.rows(torch.from_numpy(image), token)), torch.from_numpy(labels[image])

    def _cosines(self, rows: Tensor) -> Tensor:
        """Return the (U, n, n) cosines of the outputs at rows (U, n). A zero vector has cosine 0 with all others."""
        unique, position = np.unique(rows.numpy(), return_inverse=True)
        embedded = self.baseline.tokens.gather("output", unique).double()
        directions = torch.nn.functional.normalize(embedded, dim=1)
        stacked = directions[torch.from_numpy(position.reshape(rows.shape))]
        return stacked @ stacked.mT
