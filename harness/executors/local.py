"""This process, one cell after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.executors.base import EXECUTORS, TargetWork, Work
from harness.executors.single_machine import SingleMachine
from methods import numerics

if TYPE_CHECKING:
    from harness.cells.inputs import Inputs
    from harness.cells.run_cell import CellResult


@EXECUTORS.register()
class Local(SingleMachine):
    """Compute cells in the order of the suite.

    Args:
        threads: CPU threads; None: as many as torch uses by default.

    Raises:
        UserError: for fewer than one thread.
    """

    name = "local"
    description = "this process, one cell after the other"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise UserError(f"--threads {threads}: it must be at least 1.")
        self.threads = threads
        self._active_threads = contextlib.ExitStack()

    def __enter__(self) -> Local:
        self._active_threads.enter_context(numerics.threads(self.threads))
        return self

    def stop(self) -> None:
        self._active_threads.close()

    def compute_cells(self, work: Work, target: TargetWork, inputs: Inputs) -> Iterator[CellResult]:
        from harness.cells.run_cell import run_cell

        for cell in target.cells:
            work.check()
            if not work.sharing.claim(cell):
                continue
            yield run_cell(cell, inputs, work.context, saved_fits=work.saved_fits(cell), progress=work.progress)
