"""Rehearsal of a suite: its real plan at real shapes, a share of the sizes, extrapolated to the whole."""

from harness.rehearsal.rehearse import BUDGETS, Rehearsal, rehearse

__all__ = ["BUDGETS", "Rehearsal", "rehearse"]
