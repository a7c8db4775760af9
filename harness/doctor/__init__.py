"""Checks of this installation, with the command that installs what is missing, and of whether a suite can finish."""

from harness.doctor.base import Check, Need, grouped
from harness.doctor.environment import examine
from harness.doctor.estimate import SuiteEstimate, estimate
from harness.doctor.verdict import RunnableSuite, SuiteExamination, examine_suite, require

__all__ = [
    "Check", "Need", "RunnableSuite", "SuiteEstimate", "SuiteExamination", "estimate", "examine", "examine_suite",
    "grouped", "require",
]  # fmt: skip
