"""Intervals of means and ranks from joint draws of the means of a board's rows."""

from __future__ import annotations

import numpy as np


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
