"""Run a suite with its parts and sweeps, and record the results in a store."""

from harness.run.loop import run
from harness.run.parts import run_suite
from harness.run.summary import PartSummary, RunSummary

__all__ = ["PartSummary", "RunSummary", "run", "run_suite"]
