"""Checks of scores that are means over units: value, number of units and standard error follow from the unit rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from results.store import connection, frames
from results.store.records import UNIT_MEANS
from results.verify.base import TOLERANCE, Checker, Content, check

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (*dict.fromkeys(UNIT_MEANS.values()), "ms_score_token_null", "prefix_share")
_ROWS = f"SELECT parent, {', '.join(_COLUMNS)} FROM units WHERE cell_id = ? AND alive"
#: Columns of `units` since version 5 of the schema, which are empty in cells of older stores.
_NEW_COLUMNS = ("ms_score_null", "class_purity_chance")
#: Relative tolerance of a standard error: the rows are the float64 values that it was computed from.
_ERROR_TOLERANCE = 1e-4
#: Kinds of standard errors over units; those of one parent are not independent.
_UNITS, _CLUSTERED = "units", "units, clustered by parent"


class _Sample(NamedTuple):
    """Values of the alive units whose mean is a score; NaN: the unit does not count."""

    values: np.ndarray
    version: int | None = None
    """the only version of the metric that is this mean; None: any"""
    is_required: bool = False
    """True if rows of every version of the schema have the values"""


@check("unit scores")
def unit_scores(content: Content, checker: Checker) -> None:
    """Check that scores over units are the means of the unit rows, with their numbers and standard errors."""
    with connection.reading(content.store.path) as opened:
        for cell in content.finished():
            opened.execute(_ROWS, [cell["cell_id"]])
            _check_cell(content, checker, cell, frames.fetch(opened))


def _check_cell(content: Content, checker: Checker, cell: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """Check the scores of a cell against its alive unit rows."""
    parents = frame["parent"].to_numpy(np.float64, na_value=np.nan)
    has_parents = bool((~np.isnan(parents)).any())
    clusters = parents if has_parents else np.arange(len(parents), dtype=np.float64)
    rows = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in _COLUMNS}
    for metric, sample in _samples(rows).items():
        score = content.score(cell, metric)
        value = content.value(cell, metric)
        is_scored = ~np.isnan(sample.values)
        if score is None or value is None or not math.isfinite(value):
            continue
        if sample.version in (None, score["version"]) and (is_scored.any() or sample.is_required):
            _check_mean(checker, cell["cell_id"], score, sample.values[is_scored])
            kind = _CLUSTERED if has_parents else _UNITS
            _check_error(checker, cell["cell_id"], score, sample.values[is_scored], clusters[is_scored], kind)


def _samples(rows: Mapping[str, np.ndarray]) -> dict[str, _Sample]:
    """Return metric -> the values that it is the mean of, from the columns of the alive units."""
    score, kind = rows["ms_score"], rows["prefix_share"]
    purity, chance, overlap = rows["class_purity"], rows["class_purity_chance"], rows["redundancy"]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = (purity - chance) / (1 - chance)
    return {
        **{
            metric: _Sample(rows[column], is_required=column not in _NEW_COLUMNS)
            for metric, column in UNIT_MEANS.items()
        },
        "ms_score_patch": _Sample(np.where(kind <= 0.5, score, np.nan)),
        "ms_score_cls": _Sample(np.where(kind > 0.5, score, np.nan)),
        "ms_score_adjusted": _Sample(_above_chance(score, rows["ms_score_null"]), version=2),
        "ms_score_token_adjusted": _Sample(_above_chance(score, rows["ms_score_token_null"]), version=2),
        "class_purity_adjusted": _Sample(np.where(chance < 1, above, np.nan)),
        "unique_units": _Sample(np.where(np.isnan(overlap), np.nan, overlap < 0.5)),
    }


def _above_chance(score: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the values whose mean is ``(M - N) / (1 - N)`` of the means, and whose spread gives its standard error.

    They are the linearised ratio, as in :mod:`harness.metrics.ms_score_null`.
    """
    is_both = ~np.isnan(score) & ~np.isnan(null)
    if not is_both.any():
        return np.full(len(score), np.nan)
    mean, level = score[is_both].mean(), null[is_both].mean()
    room = 1 - level
    if room <= 0:
        return np.full(len(score), np.nan)
    pseudo: np.ndarray = (score - level) / room + (mean - 1) / room**2 * (null - level)
    return pseudo


def _check_mean(checker: Checker, cell_id: str, score: Mapping[str, Any], values: np.ndarray) -> None:
    metric, n = score["metric"], len(values)
    measured = f"the mean over its alive unit rows is {values.mean():.6f}" if n else "no alive unit row has one"
    holds = n > 0 and abs(score["value"] - values.mean()) < TOLERANCE
    checker.require_of(cell_id, holds, f"is {score['value']:.6f}, and {measured}.", metric)
    if score["n"] is not None:
        reason = f"is over {score['n']} units, but {n} unit rows have a value."
        checker.require_of(cell_id, score["n"] == n, reason, metric)


def _check_error(
    checker: Checker, cell_id: str, score: Mapping[str, Any], values: np.ndarray, clusters: np.ndarray, kind: str
) -> None:
    stated, metric = score["uncertainty"], score["metric"]
    if stated is None or not math.isfinite(stated):
        return
    reason = f"has an error over {score['uncertainty_kind'] or 'nothing'}; it must be over {kind}."
    checker.require_of(cell_id, score["uncertainty_kind"] == kind, reason, metric)
    error = _clustered_error(values, clusters)
    reason = f"has the standard error {stated:.6g}, and that of its unit rows is {error:.6g}."
    holds = math.isclose(stated, error, rel_tol=_ERROR_TOLERANCE, abs_tol=1e-9)
    checker.require_of(cell_id, holds, reason, metric)


def _clustered_error(values: np.ndarray, clusters: np.ndarray) -> float:
    """Return the standard error of a mean of values that may correlate within clusters; NaN for fewer than two."""
    names, member = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return math.nan
    sums = np.bincount(member, weights=values - values.mean())
    return math.sqrt(len(names) / (len(names) - 1) * float(np.sum(sums**2))) / len(values)
