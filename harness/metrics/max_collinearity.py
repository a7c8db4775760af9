"""Collinearity: similarity of a dictionary's atoms with each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.dictionary import checked_atoms, directions, writing_directions


def max_collinearity(d: Tensor) -> float:
    """Return the largest ``|cos|`` between two different atoms of a dictionary (K, d); lower is better.

    Returns:
        A value in [0, 1]: 0 for orthonormal atoms, 1 if an atom occurs twice (or once with each sign). It is NaN for
        fewer than two atoms of positive length.

    Raises:
        UserError: if ``d`` is not a matrix, or contains NaN or infinity.
    """
    if has_equal_rows(d):
        return 1.0
    nearest = nearest_cosines(d)
    return float(nearest.max()) if len(nearest) > 1 else math.nan


def has_equal_rows(d: Tensor) -> bool:
    """Return True if two atoms of ``d`` (K, d) are equal and not zero, such as what two sub-units of a neuron write.

    Raises:
        UserError: if ``d`` is not a matrix, or contains NaN or infinity.
    """
    rows, alive = checked_atoms(d)
    written = [row.tobytes() for row in rows[alive].numpy()]
    return len(set(written)) < len(written)


def nearest_cosines(d: Tensor, *, block_rows: int = 512) -> Tensor:
    """Return the largest ``|cos|`` of each atom of ``d`` (K, d) with another, (K',) float64, without zero atoms.

    Each pair is compared once, and at most ``block_rows`` rows of the similarity matrix are in memory at once.
    """
    rows = directions(d)
    nearest = torch.zeros(len(rows), dtype=torch.float64)
    for start in range(0, len(rows), block_rows):
        block = (rows[start : start + block_rows] @ rows[start:].T).abs_()
        block.fill_diagonal_(0)
        stop = start + len(block)
        nearest[start:stop] = torch.maximum(nearest[start:stop], block.amax(1))
        nearest[stop:] = torch.maximum(nearest[stop:], block[:, len(block) :].amax(0))
    return nearest.clamp_max(1)


#: Levels of the reported quantiles.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@METRICS.register()
class MaxCollinearity(Metric):
    """Largest ``|cos|`` between two atoms, which overcomplete calls collinearity.

    The paper's Table 4 reports it as "coherence", and states that higher is better; here it has a separate name, and
    lower is better. Companions: ``min_distinctness = 1 - max_collinearity``, and the mean, the median and the 95th
    percentile over atoms of the cosine with the nearest neighbour. Further quantiles are in ``details``. If the atoms
    are the directions that units read, ``details`` also has the largest ``|cos|`` of the directions that they write.
    """

    id = "max_collinearity"
    title = "max collinearity"
    direction = "lower"
    unit = ""
    reference = "ELUDe paper, App. B.3 (coherence); overcomplete.metrics.dictionary_collinearity"
    needs_network = False
    needs_dictionary = True

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        dictionary = outcome.method.require_dictionary()
        nearest = nearest_cosines(dictionary.atoms)
        n = len(nearest)
        largest = float(nearest.max()) if n > 1 else math.nan
        # Directions that units read and that they write are in different spaces, so boards must not rank them together.
        side = {"direction": dictionary.side}
        details: dict[str, Any] = {"width": dictionary.atoms.shape[1]}
        if dictionary.side == "reader" and not outcome.method.spec.virtual:
            details["writer"] = max_collinearity(writing_directions(outcome.method))
        yield self.score(largest, n)._replace(details=details, params=side)
        yield Score("min_distinctness", 1 - largest, n, unit="", direction="higher", params=side)
        levels = quantiles(nearest) if n > 1 else {}
        mean = float(nearest.mean()) if n > 1 else math.nan
        spread = {"quantiles": levels}
        yield Score("nearest_cosine_mean", mean, n, unit="", direction="lower", details=spread, params=side)
        for name, share in (("median", 0.5), ("p95", 0.95)):
            value = levels.get(f"{share:g}", math.nan)
            yield Score(f"nearest_cosine_{name}", value, n, unit="", direction="lower", params=side)


def quantiles(values: Tensor) -> dict[str, float]:
    """Return the quantiles of values (n,) at :data:`QUANTILES`, interpolated linearly between order statistics."""
    # torch.quantile raises for more than 2^24 values.
    levels = np.quantile(values.numpy(), QUANTILES)
    return {f"{share:g}": float(value) for share, value in zip(QUANTILES, levels, strict=True)}
