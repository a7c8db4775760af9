"""Cells, the units of work: planned from a suite, fitted and evaluated, on any machine."""

from harness.cells.evaluate import Evaluation
from harness.cells.fit import KnownFit, fit_cell, known_fits
from harness.cells.inputs import Inputs, open_inputs
from harness.cells.plan import Cell, PreparedTarget, cells_of, prepare
from harness.cells.run_cell import CellResult, Failure

__all__ = [
    "Cell",
    "CellResult",
    "Evaluation",
    "Failure",
    "Inputs",
    "KnownFit",
    "PreparedTarget",
    "cells_of",
    "fit_cell",
    "known_fits",
    "open_inputs",
    "prepare",
]
