"""Contract tests of plugins, shared by ``harness check`` and the tests. Each failure is one sentence."""

from __future__ import annotations

from harness.check.finding import Finding
from harness.check.methods import check_method
from harness.check.targets import Report, Target, check, targets

__all__ = ["Finding", "Report", "Target", "check", "check_method", "targets"]
