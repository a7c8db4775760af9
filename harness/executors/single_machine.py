"""Base class of the executors that use this machine: targets in the order of the suite, their inputs computed once."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness import devices
from harness.executors.base import Event, Executor, Opened, TargetWork, Work
from methods.interrupts import interrupting, is_interrupt, raise_interrupt, recognisable_interrupts
from methods.plugin_errors import exits_as_exceptions
from methods.process_state import restored

if TYPE_CHECKING:
    from harness.cells.inputs import Inputs
    from harness.cells.run_cell import CellResult
    from methods.base import Progress

#: Seconds between two looks at inputs that another run makes.
_POLL_S = 0.2


class SingleMachine(Executor):
    """Compute targets in the order of the suite; this process computes tokens and baseline once per target."""

    def planning_device(self, device: str) -> str:
        return devices.best_device(device)

    def device_name(self, device: str) -> str:
        return devices.device_name(devices.best_device(device))

    def execute(self, work: Work) -> Iterator[Event]:
        waiting = deque(work.targets)
        n_refused = 0
        while waiting:
            work.check()
            target = waiting.popleft()
            if not any(work.sharing.is_claimable(cell) for cell in target.cells):
                continue
            if work.sharing.claim_inputs(target.prepared):
                n_refused = 0
                yield from self._execute_target(work, target)
                continue
            # Another run makes these inputs: the other targets come first.
            waiting.append(target)
            n_refused += 1
            if n_refused >= len(waiting):
                n_refused = 0
                time.sleep(_POLL_S)

    def _execute_target(self, work: Work, target: TargetWork) -> Iterator[Event]:
        from harness.cells.inputs import open_inputs
        from harness.cells.run_cell import Failure, failed

        work.reporter.say(target.prepared.title)
        plans = [cell.plan for cell in target.cells]
        try:
            with recognisable_interrupts(), exits_as_exceptions(), restored():
                progress = _announcing(work, target)
                inputs = open_inputs(
                    work.suite, target.prepared, plans, work.cache, ahead=target.ahead, progress=progress
                )
        except BaseException as error:
            if is_interrupt(error):
                raise_interrupt(error)
            # An error of the inputs fails the cells of this target; other targets go on.
            failure = Failure.of(error)
            yield from (failed(cell, work.context, failure) for cell in target.cells if work.sharing.claim(cell))
            return
        finally:
            work.sharing.release_inputs(target.prepared)
        yield Opened(target.prepared, dict(inputs.broken), inputs.seconds, target.ahead)
        yield from self.compute_cells(work, target, inputs)

    @abstractmethod
    def compute_cells(self, work: Work, target: TargetWork, inputs: Inputs) -> Iterator[CellResult]:
        """Yield one result per cell of a target whose inputs are in the cache, without the cells of other runs."""


def _announcing(work: Work, target: TargetWork) -> Progress:
    """Return the progress of a target's inputs; its first call says what they are, so cached inputs say nothing."""
    prepared = target.prepared
    others = sorted({each.site for each in target.ahead} - {prepared.site.path})
    layers = f" (and of {', '.join(others)})" if others else ""
    is_announced = False

    @interrupting
    def progress(done: int, total: int, what: str) -> None:
        nonlocal is_announced
        if not is_announced:
            is_announced = True
            work.reporter.say(
                f"  First the images pass through the network, once for all cells of this layer: "
                f"{len(prepared.probing)} probing images for the tokens{layers}; {len(prepared.evaluation)} evaluation "
                "images for the baseline, unmodified and with the layer ablated."
            )
        work.progress(done, total, what)

    return progress
