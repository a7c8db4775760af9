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
# Most images whose incidence matrix is dense, and rows of the matrix of indices at once: 512 x 24,576 are 50 MB.
_DENSE_UP_TO, _ROWS = 2048, 512


def nearest_overlaps(top_image: Tensor, top_value: Tensor, *, parents: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the largest Jaccard index of each unit's images with another unit's, and with another neuron's.

    Of the ``top_image`` indices (K, U), only those with a positive ``top_value`` (K, U) count.

    Args:
        top_image: (K, U) int64 image indices.
        top_value: (K, U).
        parents: (U,) int64 neuron of each unit; None: each unit is one.

    Returns:
        Two (U,) float64. Without ``parents`` both are equal.
    """
    n_units = top_image.shape[1]
    nearest, across = np.zeros(n_units), np.zeros(n_units)
    if n_units < 2:
        return torch.from_numpy(nearest), torch.from_numpy(across)
    used = (top_value > 0).numpy()
    units = np.broadcast_to(np.arange(n_units), used.shape)[used]
    # Renumbered, as units of a large split have few images in common.
    columns, images = np.unique(top_image.numpy()[used], return_inverse=True)
    shape = (n_units, max(len(columns), 1))
    member = scipy.sparse.csr_matrix((np.ones(len(units), dtype=np.float32), (units, images)), shape=shape)
    sizes = np.asarray(member.sum(1))[:, 0]
    # Few images: a dense product of these small integers is as exact, and faster.
    dense = member.toarray() if shape[1] <= _DENSE_UP_TO else None
    owners = None if parents is None else parents.numpy()
    for start in range(0, n_units, _ROWS):
        stop = min(start + _ROWS, n_units)
        shared = (member[start:stop] @ member.T).toarray() if dense is None else dense[start:stop] @ dense.T
        union = sizes[start:stop, None] + sizes[None]
        union -= shared
        jaccard = np.divide(shared, union, out=shared, where=union > 0)
        jaccard[np.arange(stop - start), np.arange(start, stop)] = 0
        nearest[start:stop] = jaccard.max(1)
        if owners is not None:
            jaccard[owners[start:stop, None] == owners[None]] = 0
            across[start:stop] = jaccard.max(1)
    return torch.from_numpy(nearest), torch.from_numpy(nearest if owners is None else across)


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
        parents = outcome.method.parents
        neurons = None if parents is None else parents.cpu()[alive]
        nearest, across = nearest_overlaps(image, value, parents=neurons)
        column = np.full(len(alive), np.nan)
        column[alive.numpy()] = nearest.numpy()
        outcome.unit_columns["redundancy"] = column
        n = len(nearest)
        details: dict[str, Any] = {"quantiles": quantiles(nearest) if n else {}}
        if neurons is not None and n:
            details["nearest_is_another_neurons"] = float(((across >= nearest) & (nearest > 0)).double().mean())
        yield self.score(float(nearest.mean()), n)._replace(details=details)
        yield Score("unique_units", float((nearest < 0.5).double().mean()), n, direction="higher")
        if neurons is not None and n:
            spread = {"quantiles": quantiles(across)}
            yield Score("unit_overlap_across", float(across.mean()), n, direction="lower", details=spread)
