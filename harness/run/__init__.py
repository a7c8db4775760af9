"""Run a suite: its parts and sweeps, cell by cell, into a store."""

from harness.run.loop import RunSummary, run
from harness.run.parts import PartSummary, SeriesSummary, run_suite

__all__ = ["PartSummary", "RunSummary", "SeriesSummary", "run", "run_suite"]
