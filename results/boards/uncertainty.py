"""Uncertainty of a mean, a rank and a position on a front: seeded draws from the errors known for each mean.

A mean over n seeds is drawn as ``mean + std / sqrt(n) * t + standard_error * z``:

- t has Student's distribution with n - 1 degrees of freedom: three seeds determine their own spread poorly, and the
  normal distribution would ignore this. For stability, whose values are of pairs of runs, ``std / sqrt(n)`` is
  replaced by the jackknife over runs (`results.boards.group_columns.pairs_error`);
- z is standard normal. It stands for the sampling of what was measured in each cell (units, images, comparisons),
  which more seeds do not reduce, because all seeds are evaluated on the same images.

If the standard error comes from the sampling of *images*, z is one number for all rows of a draw: every method was
evaluated on the same images, so their sampling error is common to all. With independent draws, two lossless methods
with exactly the same predictions would beat each other at random. With common draws the error cancels. This is exact
for methods with equal predictions and too optimistic for others: for a difference between two methods, compare them
image by image.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from results.boards.board import HALF_WIDTH

if TYPE_CHECKING:
    from results.boards.board import Aggregate

N_DRAWS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean and the known components of its error.

    Attributes:
        mean: in the metric's own unit.
        seed_error: sample standard deviation over seeds / sqrt(n), or of pairs of runs their jackknife; 0 for one seed.
        freedom: runs - 1.
        sampling_error: standard error within a cell; 0 if no cell gave one.
        shared: true if that error comes from images that all rows share.
        has_error: true if there is any information on the error; otherwise the mean is drawn as exact.
    """

    mean: float
    seed_error: float = 0.0
    freedom: int = 0
    sampling_error: float = 0.0
    shared: bool = False
    has_error: bool = True


def samples_images(uncertainty_kind: str | None) -> bool:
    """Return whether a standard error of this kind is over images, which all methods of a board share."""
    return "image" in (uncertainty_kind or "")


def estimate_of(aggregate: Aggregate, *, shared: bool = False) -> Estimate:
    """Return the estimate of one mean of a board.

    Args:
        shared: true if its standard error is over images (see `samples_images`).
    """
    if aggregate.interval is not None:
        low, high = aggregate.interval
        return Estimate(mean=aggregate.mean, sampling_error=(high - low) / (2 * HALF_WIDTH))
    seed_error, freedom = aggregate.mean_error or (0.0, 0)
    return Estimate(
        mean=aggregate.mean,
        seed_error=seed_error,
        freedom=freedom,
        sampling_error=aggregate.standard_error or 0.0,
        shared=shared,
        has_error=aggregate.mean_error is not None or aggregate.standard_error is not None,
    )


def draws(
    estimates: Mapping[str, Estimate | None], *, metric: str = "", n_draws: int = N_DRAWS, seed: int = 0
) -> np.ndarray:
    """Return (n_draws, n) draws of the rows' means, NaN if there is no estimate.

    Each row has a generator of its own, seeded by its name and the metric's, so that its numbers do not depend on
    which other rows are shown.

    Args:
        estimates: row name -> Estimate, or None if the metric is missing.
        metric: metric id; two metrics of one row are drawn independently.
    """
    common = _generator(seed, metric, "shared").standard_normal(n_draws)
    drawn = np.full((n_draws, len(estimates)), np.nan)
    for column, (name, estimate) in enumerate(estimates.items()):
        if estimate is None:
            continue
        generator = _generator(seed, metric, name)
        values = np.full(n_draws, estimate.mean)
        if estimate.seed_error > 0 and estimate.freedom > 0:
            values += estimate.seed_error * generator.standard_t(estimate.freedom, n_draws)
        if estimate.sampling_error > 0:
            values += estimate.sampling_error * (common if estimate.shared else generator.standard_normal(n_draws))
        drawn[:, column] = values
    return drawn


def intervals(drawn: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the central intervals (n, 2) with a share `level` of the draws (draws, n) of each row, NaN if none."""
    tail = 100 * (1 - level) / 2
    bounds = np.full((drawn.shape[1], 2), np.nan)
    has_draws = ~np.isnan(drawn).any(axis=0)
    if has_draws.any():
        bounds[has_draws] = np.percentile(drawn[:, has_draws], [tail, 100 - tail], axis=0).T
    return bounds


def rank_intervals(drawn: np.ndarray, *, larger: bool, level: float = 0.95) -> list[tuple[int, int] | None]:
    """Return for each row the least and greatest rank it has in the central `level` of the draws (draws, n).

    A rank is 1 + the number of rows that are strictly better; None for a row without draws.
    """
    cost = -drawn if larger else drawn
    rank = 1 + (cost[:, :, None] < cost[:, None, :]).sum(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(rank, [tail, 100 - tail], axis=0, method="inverted_cdf")
    missing = np.isnan(drawn).any(axis=0)
    return [None if is_missing else (int(a), int(b)) for a, b, is_missing in zip(low, high, missing, strict=True)]


def _generator(seed: int, *names: str) -> np.random.Generator:
    # crc32 rather than hash(): the same number in every process.
    return np.random.default_rng([seed, *(zlib.crc32(name.encode("utf-8", "backslashreplace")) for name in names)])


def unknown_errors(estimates: Sequence[tuple[str, Estimate | None]]) -> list[str]:
    """Return the names of the rows whose mean is drawn as exact because its error is unknown."""
    return [name for name, estimate in estimates if estimate is not None and not estimate.has_error]
