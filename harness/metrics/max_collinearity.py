"""Collinearity: how near the atoms of a dictionary come to each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.dictionary import directions, writing_directions


def max_collinearity(d: Tensor) -> float:
    """The largest ``|cos|`` between two different atoms of the dictionary d (K, d); lower is better.

    Returns:
        A value in [0, 1]: 0 for orthonormal atoms, 1 if an atom comes twice (or once with each sign). NaN for fewer
        than two atoms of positive length.

    Raises:
        UserError: if d is no matrix or holds NaN or infinity.
    """
    nearest = nearest_cosines(d)
    return float(nearest.max()) if len(nearest) > 1 else math.nan


def nearest_cosines(d: Tensor, *, block_rows: int = 2048) -> Tensor:
    """(K',) float64: each atom's largest ``|cos|`` with another one; atoms of length zero are left out.

    ``block_rows`` rows of the similarity matrix are held at once.
    """
    rows = directions(d)
    nearest = torch.zeros(len(rows), dtype=torch.float64)
    for start in range(0, len(rows), block_rows):
        block = (rows[start : start + block_rows] @ rows.T).abs()
        block[torch.arange(len(block)), torch.arange(start, start + len(block))] = 0
        nearest[start : start + block_rows] = block.amax(1).clamp_max(1)
    return nearest


#: Shares of atoms at which the distribution of the nearest cosine is given.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@METRICS.register()
class MaxCollinearity(Metric):
    """The largest ``|cos|`` between two atoms. overcomplete calls it collinearity.

    The paper's Table 4 prints a "coherence" that is said to be this and to be better when higher: it is reported here
    under its own name. Companions: ``min_distinctness = 1 - max_collinearity``, and the mean, the median and the 95th
    percentile over atoms of the cosine with their nearest neighbour; further quantiles are in ``details``. Where the
    atoms are what units read, ``details`` has the largest ``|cos|`` of what they write too.
    """

    id = "max_collinearity"
    title = "max collinearity"
    direction = "lower"
    unit = ""
    reference = "ELUDe paper, App. B.3 (coherence); overcomplete.metrics.dictionary_collinearity"

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        dictionary = outcome.method.dictionary()
        nearest = nearest_cosines(dictionary.atoms)
        n = len(nearest)
        largest = float(nearest.max()) if n > 1 else math.nan
        # What units read and what they write live in two spaces: a board must not rank one among the other.
        side = {"direction": dictionary.side}
        details: dict[str, Any] = {"width": dictionary.atoms.shape[1]}
        if dictionary.side == "reader" and not outcome.method.spec.virtual:
            details["writer"] = max_collinearity(writing_directions(outcome.method))
        yield self.score(largest, n)._replace(details=details, params=side)
        yield Score("min_distinctness", 1 - largest, n, unit="", direction="higher", params=side)
        found = quantiles(nearest) if n > 1 else {}
        mean = float(nearest.mean()) if n > 1 else math.nan
        yield Score(
            "nearest_cosine_mean", mean, n, unit="", direction="lower", details={"quantiles": found}, params=side
        )
        for name, share in (("median", 0.5), ("p95", 0.95)):
            value = found.get(f"{share:g}", math.nan)
            yield Score(f"nearest_cosine_{name}", value, n, unit="", direction="lower", params=side)


def quantiles(values: Tensor) -> dict[str, float]:
    """The quantiles of values (n,) at :data:`QUANTILES`, between order statistics by linear interpolation."""
    # Not torch's: that refuses more than 2^24 values.
    found = np.quantile(values.numpy(), QUANTILES)
    return {f"{share:g}": float(value) for share, value in zip(QUANTILES, found, strict=True)}
