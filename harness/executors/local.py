"""This process, one cell after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness import devices
from harness.cells.inputs import open_inputs
from harness.cells.run_cell import Failure, failed, run_cell
from harness.errors import UserError
from harness.executors.base import EXECUTORS, Event, Executor, Opened, TargetWork, Work
from methods import numerics


@EXECUTORS.register()
class Local(Executor):
    """Compute targets and cells in the order of the suite; tokens and baseline are computed once per target."""

    name = "local"
    description = "this process, one cell after the other"

    def __init__(self, threads: int | None = None) -> None:
        """Create the executor.

        Args:
            threads: CPU threads; None: as many as torch uses by default.

        Raises:
            UserError: for fewer than one.
        """
        if threads is not None and threads < 1:
            raise UserError(f"--threads {threads}: it must be at least 1.")
        self.threads = threads
        self._in_force = contextlib.ExitStack()

    def __enter__(self) -> Local:
        self._in_force.enter_context(numerics.threads(self.threads))
        return self

    def stop(self) -> None:
        self._in_force.close()

    def planning_device(self, device: str) -> str:
        return devices.best_device(device)

    def device_name(self, device: str) -> str:
        return devices.device_name(devices.best_device(device))

    def execute(self, work: Work) -> Iterator[Event]:
        for target in work.targets:
            work.reporter.say(target.prepared.title)
            yield from self._target(work, target)

    def _target(self, work: Work, target: TargetWork) -> Iterator[Event]:
        device = work.context.device
        plans = list(dict.fromkeys(cell.plan for cell in target.cells))

        def progress(done: int, total: int, what: str) -> None:
            work.check()
            work.reporter.progress(done, total, what)

        try:
            inputs = open_inputs(work.suite, target.prepared, plans, work.cache, device=device, progress=progress)
        except Exception as error:
            # An error of the inputs fails the cells of this target; other targets go on.
            for cell in target.cells:
                yield failed(cell, work.context, Failure.of(error))
            return
        yield Opened(target.prepared, inputs.broken.images)
        for cell in target.cells:
            work.check()
            yield run_cell(
                cell,
                inputs.tokens[cell.plan],
                inputs.baseline,
                work.context,
                known=work.known_fits(cell),
                left_out=inputs.left_out(),
                progress=progress,
            )
