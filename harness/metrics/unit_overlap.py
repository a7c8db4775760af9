"""Unit overlap: share of top images that two units have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.max_collinearity import quantiles

TOP = 16


def nearest_overlaps(top_image: Tensor, top_value: Tensor, *, parents: Tensor | None = None) -> Tensor:
    """Return the largest Jaccard index of each unit's images with another unit's, (U,) float64.

    Of the ``top_image`` indices (K, U), only those with a positive ``top_value`` (K, U) count. With ``parents`` (U,),
    the int64 neuron of each unit, only units of different neurons are compared.
    """
    n_units = top_image.shape[1]
    if n_units < 2:
        return torch.zeros(n_units, dtype=torch.float64)
    used = (top_value > 0).numpy()
    units = np.broadcast_to(np.arange(n_units), used.shape)[used]
    images = top_image.numpy()[used]
    shape = (n_units, int(images.max(initial=0)) + 1)
    member = scipy.sparse.csr_matrix((np.ones(len(units), dtype=np.float32), (units, images)), shape=shape)
    sizes = np.asarray(member.sum(1))[:, 0]
    nearest = np.zeros(n_units)
    owners = np.arange(n_units) if parents is None else parents.numpy()
    for start in range(0, n_units, 1024):
        stop = min(start + 1024, n_units)
        shared = (member[start:stop] @ member.T).toarray()
        union = sizes[start:stop, None] + sizes[None] - shared
        jaccard = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        jaccard[owners[start:stop, None] == owners[None]] = 0
        nearest[start:stop] = jaccard.max(1)
    return torch.from_numpy(nearest)


@METRICS.register()
class UnitOverlap(Metric):
    """Mean over alive units of the largest Jaccard index between their top-16 images and another alive unit's.

    It is high if units repeat each other. Companions: ``unique_units``, the share of units whose Jaccard index with the
    nearest unit is below 1/2; and, for methods whose units have a parent neuron, ``unit_overlap_across``, the same mean
    with only the units of *other* neurons. Sub-units of different neurons may represent one concept, which a method
    that splits each neuron separately cannot avoid. ``details`` has the share of units whose nearest unit belongs to
    another neuron.
    """

    id = "unit_overlap"
    title = "overlap with the nearest unit"
    direction = "lower"
    reference = "pairwise Jaccard index of top-16 images"

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": min(TOP, self.baseline.top_images)}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        alive = outcome.units.alive
        image, value = outcome.units.top_image[:TOP, alive], outcome.units.top_value[:TOP, alive]
        nearest = nearest_overlaps(image, value)
        column = np.full(len(alive), np.nan)
        column[alive.numpy()] = nearest.numpy()
        outcome.unit_columns["redundancy"] = column
        n = len(nearest)
        details: dict[str, Any] = {"quantiles": quantiles(nearest) if n else {}}
        parents, across = outcome.method.parents, None
        if parents is not None and n:
            neurons = parents.cpu()[alive]
            across = nearest_overlaps(image, value, parents=neurons)
            details["nearest_is_another_neurons"] = float(((across >= nearest) & (nearest > 0)).double().mean())
        yield self.score(float(nearest.mean()), n)._replace(details=details)
        yield Score("unique_units", float((nearest < 0.5).double().mean()), n, direction="higher")
        if across is not None:
            spread = {"quantiles": quantiles(across)}
            yield Score("unit_overlap_across", float(across.mean()), n, direction="lower", details=spread)
