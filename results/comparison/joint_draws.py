"""Joint draws of the means of a board's rows, for intervals, ranks and shares of the front.

A draw of a mean is ``mean + z @ influences + sqrt(variance) * z_row``, plus Student's t for the variation over seeds
that these do not explain (:func:`results.comparison.intervals.add_between_variance`). A mean that is a share of images
is drawn as the share from which it is that many standard errors away (`results.boards.share_intervals`), so that it
stays between 0 and 1. z has one standard normal number
per image, group of images or neuron, and is the same for all rows, so that errors which rows share cancel between them:
two lossless methods with equal predictions are tied in every draw, and two methods with 78 and 74 right answers differ
as surely as the images on which they disagree allow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from results.boards.share_intervals import share_at
from results.comparison.intervals import add_between_variance
from results.comparison.row_errors import RowError

N_DRAWS = 2000


def joint_draws(
    errors: Mapping[str, RowError | None], *, metric: str = "", n_draws: int = N_DRAWS, seed: int = 0
) -> np.ndarray:
    """Return (n_draws, n) draws of the rows' means, NaN for a row without a known error.

    Each row has a generator of its own, seeded by its name and the metric's, so that its numbers do not depend on which
    other rows are shown.

    Args:
        errors: name of the row -> its error; None if the metric is missing or its error over seeds is unknown.
        metric: name of the column; two metrics of one row are drawn independently.
    """
    common: dict[tuple[str, int], np.ndarray] = {}
    drawn = np.full((n_draws, len(errors)), np.nan)
    for column, (name, error) in enumerate(errors.items()):
        if error is None:
            continue
        generator = generator_of(seed, metric, name)
        values = np.full(n_draws, error.mean)
        if len(error.influences):
            values += _common(common, error, seed, metric, n_draws) @ error.influences
        if error.variance > 0:
            values += np.sqrt(error.variance) * generator.standard_normal(n_draws)
        spread = float(np.sqrt(np.square(error.influences).sum() + error.variance))
        if error.n_images > 0 and spread > 0:
            values = share_at(error.mean, error.n_images, (values - error.mean) / spread)
        if error.freedom > 0 and error.between > 0:
            values = add_between_variance(values, error.between, error.within, error.freedom, generator)
        drawn[:, column] = values
    return drawn


def _common(
    common: dict[tuple[str, int], np.ndarray], error: RowError, seed: int, metric: str, n_draws: int
) -> np.ndarray:
    """Return the (n_draws, G) standard normal numbers of a space, equal for all rows."""
    key = error.space, len(error.influences)
    if key not in common:
        numbers = generator_of(seed, metric, error.space).standard_normal((len(error.influences), n_draws))
        # Rows with fewer influences (a split that lacks the last neurons) use the first of the same numbers.
        common[key] = numbers.T
    return common[key]


def generator_of(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of a row or space; the same numbers in every process."""
    # crc32 rather than hash(), which differs between processes.
    return np.random.default_rng([seed, *(zlib.crc32(name.encode("utf-8", "backslashreplace")) for name in names)])
