"""Shared statistics: standard errors, and win rates and agreement computed from pairwise judgments.

All functions of judgments take the same data frame; :mod:`harness.stats.consensus` describes its columns.
"""

from __future__ import annotations

from harness.stats.consensus import consensus
from harness.stats.detection import Detections, JudgedMean, mean_over_judges
from harness.stats.health import judge_health, krippendorff_alpha, n_shared_pairs
from harness.stats.matrix import pairwise, pairwise_matrix
from harness.stats.standard_errors import (
    clustered_standard_error,
    jackknife_standard_error,
    proportion_standard_error,
    standard_error_from_sums,
)
from harness.stats.strength import bradley_terry
from harness.stats.win_rates import win_rates

__all__ = [
    "Detections",
    "JudgedMean",
    "bradley_terry",
    "clustered_standard_error",
    "consensus",
    "jackknife_standard_error",
    "judge_health",
    "krippendorff_alpha",
    "mean_over_judges",
    "n_shared_pairs",
    "pairwise",
    "pairwise_matrix",
    "proportion_standard_error",
    "standard_error_from_sums",
    "win_rates",
]
