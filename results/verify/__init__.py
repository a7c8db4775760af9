"""Check a store for impossible values; every file but ``base`` and ``run_checks`` is a group of checks."""

from results.verify.base import StoreProblem
from results.verify.run_checks import StoreVerdict, check_names, verify

__all__ = ["StoreProblem", "StoreVerdict", "check_names", "verify"]
