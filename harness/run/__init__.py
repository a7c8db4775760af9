"""Run a suite: its parts and sweeps, cell by cell, into a store."""

from harness.run.loop import run
from harness.run.parts import run_suite
from harness.run.summary import PartSummary, RunSummary

__all__ = ["PartSummary", "RunSummary", "run", "run_suite"]
