"""Contract tests of plugins, shared by ``harness check`` and the tests. Each failure is one sentence."""

from __future__ import annotations

from harness.check.finding import Finding
from harness.check.layers import LayerName
from harness.check.methods import check_method
from harness.check.targets import CheckReport, CheckTarget, check, targets

__all__ = ["CheckReport", "CheckTarget", "Finding", "LayerName", "check", "check_method", "targets"]
