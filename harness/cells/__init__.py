"""Cells, the units of work: planned from a suite, fitted and evaluated, on any machine."""

from harness.cells.evaluate import Evaluation
from harness.cells.fit import SavedFit, fit_cell, saved_fits
from harness.cells.inputs import Inputs, open_inputs
from harness.cells.plan import Cell, PreparedTarget, cells_of, prepare
from harness.cells.run_cell import CellResult, Failure

__all__ = [
    "Cell",
    "CellResult",
    "Evaluation",
    "Failure",
    "Inputs",
    "PreparedTarget",
    "SavedFit",
    "cells_of",
    "fit_cell",
    "open_inputs",
    "prepare",
    "saved_fits",
]
