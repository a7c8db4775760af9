"""Joint draws of the means of a board's rows, for intervals, ranks and shares of the front.

A draw of a mean is ``mean + z @ influences + sqrt(variance) * z_row``, plus Student's t for the variation over seeds
that these do not explain (:func:`results.comparison.intervals.add_between_variance`). z has one standard normal number
per image, group of images or neuron, and is the same for all rows, so that errors which rows share cancel between them:
two lossless methods with equal predictions are tied in every draw, and two methods with 78 and 74 right answers differ
as surely as the images on which they disagree allow.

For a share of images, the first two terms are the share from which the mean is ``z @ influences / |influences|``
standard errors away (`results.boards.share_intervals`), and a draw is clipped to 0 and 1. If all images have the same
outcome, there are no influences, and one standard normal number is shared by all such rows instead.
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
        shift = np.zeros(n_draws)
        if len(error.influences):
            shift = _common(common, error, seed, metric, n_draws) @ error.influences
        values = error.mean + shift
        if error.n_images > 0:
            spread = float(np.linalg.norm(error.influences))
            z = shift / spread if spread > 0 else generator_of(seed, metric, "same outcome").standard_normal(n_draws)
            values = share_at(error.mean, error.n_images, z)
        if error.variance > 0:
            values = values + np.sqrt(error.variance) * generator.standard_normal(n_draws)
        if error.freedom > 0 and error.between > 0:
            values = add_between_variance(values, error.between, error.within, error.freedom, generator)
        drawn[:, column] = np.clip(values, 0.0, 1.0) if error.n_images > 0 else values
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
