"""Check a store for impossible values; every file but ``base`` and ``run_checks`` is a group of checks."""

from results.verify.base import Problem
from results.verify.run_checks import Verdict, check_names, verify

__all__ = ["Problem", "Verdict", "check_names", "verify"]
