"""Activations of one layer: the site, token sets, forward passes, the unmodified network, and its head."""

from harness.activations.baseline import Baseline, make_baseline
from harness.activations.collect import ProbingPlan
from harness.activations.head import Head, make_head
from harness.activations.site import Site, site_paths
from harness.activations.token_set import TokenSet
from harness.activations.unit_statistics import UnitStatistics

__all__ = [
    "Baseline",
    "Head",
    "ProbingPlan",
    "Site",
    "TokenSet",
    "UnitStatistics",
    "make_baseline",
    "make_head",
    "site_paths",
]
