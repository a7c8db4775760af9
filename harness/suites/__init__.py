"""Suites: typed descriptions of runs, validated before anything is computed (see ``docs/suites.md``)."""

from harness.suites.loading import SUITES, load_suite, suite_names
from harness.suites.overrides import OTHER_IMAGES_EVALUATION, each_leaf, with_overrides, with_settings
from harness.suites.parsing import parse_suite
from harness.suites.schema import (
    Data,
    EvaluationSettings,
    Judging,
    MethodEntry,
    Probing,
    Seeds,
    StabilitySeeds,
    Suite,
    SweepSettings,
    Target,
    names_of,
)
from harness.suites.sections import SECTIONS

__all__ = [
    "OTHER_IMAGES_EVALUATION", "SECTIONS", "SUITES", "Data", "EvaluationSettings", "Judging", "MethodEntry", "Probing",
    "Seeds", "StabilitySeeds", "Suite", "SweepSettings", "Target", "each_leaf", "load_suite", "names_of", "parse_suite",
    "suite_names", "with_overrides", "with_settings",
]  # fmt: skip
