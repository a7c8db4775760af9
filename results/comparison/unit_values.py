"""Values per unit whose mean over units is a metric, from the table of units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from results.store.records import UNIT_MEANS

#: A unit peaks at CLS or register tokens if more than this share of its top images does.
PREFIX_MAJORITY = 0.5
#: Jaccard index from which two units count as the same, as in the metric `unit_overlap`.
_SAME_UNITS = 0.5


class UnitValues(NamedTuple):
    """Columns of the table of units, and the value of each unit (n,) as a function of them; NaN leaves a unit out."""

    columns: tuple[str, ...]
    values: Callable[..., np.ndarray]
    alive_only: bool = True


def _itself(column: np.ndarray) -> np.ndarray:
    return column


def _adjusted_ms(score: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return pseudo-values whose mean is ``(M - N) / (1 - N)``, the ratio of means M and N, linearised around them."""
    defined = np.isfinite(score) & np.isfinite(null)
    if not defined.any():
        return np.full(len(score), np.nan)
    mean, mean_null = score[defined].mean(), null[defined].mean()
    room = 1 - mean_null
    if room <= 0:
        return np.full(len(score), np.nan)
    adjusted = (mean - mean_null) / room
    linear = adjusted + (score - mean) / room + (mean - 1) / room**2 * (null - mean_null)
    return np.where(defined, linear, np.nan)


def _adjusted_purity(purity: np.ndarray, chance: np.ndarray) -> np.ndarray:
    room = np.where(chance < 1, 1 - chance, np.nan)
    adjusted: np.ndarray = (purity - chance) / room
    return adjusted


def _unique(overlap: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(overlap), (overlap < _SAME_UNITS).astype(np.float64), np.nan)


def _at_patches(score: np.ndarray, prefix_share: np.ndarray) -> np.ndarray:
    return np.where(prefix_share <= PREFIX_MAJORITY, score, np.nan)


def _at_prefix(score: np.ndarray, prefix_share: np.ndarray) -> np.ndarray:
    return np.where(prefix_share > PREFIX_MAJORITY, score, np.nan)


#: Metric -> its values per unit. If they do not give a cell's score, the metric is compared by its scores alone.
UNIT_VALUES: Mapping[str, UnitValues] = {
    **{metric: UnitValues((column,), _itself) for metric, column in UNIT_MEANS.items()},
    "alive_fraction": UnitValues(("alive",), _itself, alive_only=False),
    "ms_score_adjusted": UnitValues(("ms_score", "ms_score_null"), _adjusted_ms),
    "ms_score_token_adjusted": UnitValues(("ms_score", "ms_score_token_null"), _adjusted_ms),
    "ms_score_patch": UnitValues(("ms_score", "prefix_share"), _at_patches),
    "ms_score_cls": UnitValues(("ms_score", "prefix_share"), _at_prefix),
    "class_purity_adjusted": UnitValues(("class_purity", "class_purity_chance"), _adjusted_purity),
    "unique_units": UnitValues(("redundancy",), _unique),
}
