"""Families of metrics: different numbers for one quantity, of which only one is tested.

A companion such as ``class_purity_adjusted`` says the same as its parent in other units. Testing both would count one
quantity twice in the correction for many tests, and two tests of one quantity may contradict each other. The members of
a family share their resamples, so that their intervals agree (docs/comparing.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

#: The first member that both rows have is tested. The MS score above chance comes first: raw scores also contain the
#: similarity of any images at the kind of token that a unit chooses.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("ms_score_token_adjusted", "ms_score", "ms_score_adjusted", "ms_score_patch", "ms_score_cls"),
    ("class_purity", "class_purity_adjusted"),
    ("unit_overlap", "unique_units", "unit_overlap_across"),
    ("max_collinearity", "min_distinctness", "nearest_cosine_mean", "nearest_cosine_median", "nearest_cosine_p95"),
    ("effective_rank", "effective_rank_share"),
    ("accuracy", "accuracy_recovered"),
    ("agreement", "agreement_recovered"),
    ("fvu", "r2_pooled"),
    ("autointerp", "autointerp_gap"),
    ("sparse_probe_k", "sparse_probe_1", "sparse_probe_2", "sparse_probe_5", "sparse_probe_16", "sparse_probe_excess"),
    ("probe_dense", "probe_dense_gain"),
    ("probe_transfer", "probe_transfer_gain", "probe_transfer_drop", "probe_transfer_gain_change"),
    ("robust_corruption", "robust_corruption_gain"),
    ("robust_labels", "robust_labels_gain"),
    ("robust_few_shot", "robust_few_shot_gain"),
    ("tpp", "tpp_2", "tpp_5", "tpp_20"),
    ("scr", "scr_2", "scr_5", "scr_20"),
    ("absorption", "absorption_excess", "absorption_rate"),
    ("ablation_specificity", "ablation_specificity_gain"),
    ("ms_score_external_adjusted", "ms_score_external"),
    ("frechet_distance", "frechet_distance_absolute"),
    ("calibration_error", "calibration_error_change"),
)
_FAMILY_OF = {metric: family for family in FAMILIES for metric in family}


class Affine(NamedTuple):
    """Companion that is an affine function of another metric, the same for all cells of a board."""

    parent: str
    slope: Callable[[Mapping[str, float]], float]
    """slope for the scores of one cell, metric -> value; may raise KeyError or ZeroDivisionError"""


_AFFINE: Mapping[tuple[str, int], Affine] = {
    # Version 1 used one null for all units; version 2 has one for each unit, and is resampled with the units.
    ("ms_score_adjusted", 1): Affine("ms_score", lambda scores: 1 / (1 - scores["ms_score_null"])),
    ("min_distinctness", 1): Affine("max_collinearity", lambda scores: -1.0),
    ("r2_pooled", 1): Affine("fvu", lambda scores: -1.0),
    ("accuracy_recovered", 1): Affine(
        "accuracy", lambda scores: 1 / (scores["floor_original_accuracy"] - scores["floor_mean_accuracy"])
    ),
    ("agreement_recovered", 1): Affine("agreement", lambda scores: 1 / (1 - scores["floor_mean_agreement"])),
}


def affine_of(metric: str, version: int) -> Affine | None:
    """Return how a metric follows from another one; None if it is measured by itself."""
    return _AFFINE.get((metric, version))


def family_name(metric: str) -> str:
    """Return the name that all members of a metric's family share; it seeds their resamples."""
    return _FAMILY_OF.get(metric, (metric,))[0]


def member_under_test(metric: str, version: int, available: Collection[tuple[str, int]]) -> str:
    """Return the member of a metric's family that is tested.

    Args:
        version: version of the metric.
        available: (metric, version) of all metrics that are compared.
    """
    # An affine companion says nothing beyond its parent, so it is tested only in the parent's absence.
    members = [
        member
        for affine_last in (False, True)
        for member in _FAMILY_OF.get(metric, (metric,))
        for name, of_version in available
        if name == member and (affine_of(name, of_version) is not None) == affine_last
    ]
    return members[0] if members else metric
