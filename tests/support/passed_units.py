"""Statistics of a method's units on an evaluation split, as the evaluation pass collects them."""

from __future__ import annotations

from harness.activations.baseline import Baseline
from harness.activations.unit_statistics import UnitStatistics
from methods.base import Method


def passed_units(method: Method, baseline: Baseline) -> UnitStatistics:
    """Return the statistics of all units on the evaluation images of a baseline."""
    statistics = UnitStatistics(method.n_units, baseline.top_images)
    for tokens in baseline.passes.tokens(baseline.index):
        x = tokens.q if method.spec.reads == "input" else tokens.a
        statistics.update(method.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2]), tokens.image)
    return statistics
