"""Metrics, one per file. Functions of the same names compute them from plain tensors, e.g. in a notebook."""

from __future__ import annotations

from harness.metrics.absorption import absorption_rate
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.effective_rank import effective_rank
from harness.metrics.frechet_distance import frechet_distance
from harness.metrics.fvu import fvu
from harness.metrics.max_collinearity import max_collinearity
from harness.metrics.morans_i import morans_i
from harness.metrics.ms_score import ms_score
from harness.metrics.ms_score_external import ms_score_external
from harness.metrics.r2 import R2, r2
from harness.metrics.sparse_probe import sparse_probe
from harness.metrics.stability import matched_cosine, matched_cosine_by_parent

__all__ = [
    "METRICS",
    "R2",
    "Batch",
    "Metric",
    "Outcome",
    "Score",
    "absorption_rate",
    "effective_rank",
    "frechet_distance",
    "fvu",
    "matched_cosine",
    "matched_cosine_by_parent",
    "max_collinearity",
    "morans_i",
    "ms_score",
    "ms_score_external",
    "r2",
    "sparse_probe",
]
