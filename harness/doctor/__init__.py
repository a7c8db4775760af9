"""Look at what is here and what is missing, with the command that brings it; and whether a suite can run to its end."""

from harness.doctor.base import Check, Need, grouped
from harness.doctor.environment import examine
from harness.doctor.estimate import Estimate, estimate
from harness.doctor.verdict import Able, Examined, check, examine_suite, require

__all__ = [
    "Able",
    "Check",
    "Estimate",
    "Examined",
    "Need",
    "check",
    "estimate",
    "examine",
    "examine_suite",
    "grouped",
    "require",
]
