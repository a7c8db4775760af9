"""Cells in parallel on one machine: worker processes of one thread each, for many small fits.

One fit keeps two cores busy only in part, and more cores less: selecting, transposing and Python itself run on one.
Two fits of one thread each take less time than two fits of two threads, one after the other (``docs/training.md`` has
figures). The store is written by the process that was started, as with every executor.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from harness.cells.fit import SavedFit
from harness.cells.inputs import Inputs
from harness.cells.plan import Cell
from harness.cells.run_cell import CellResult, Failure, failed
from harness.errors import UserError
from harness.executors.base import TargetWork, Work
from harness.executors.single_machine import SingleMachine
from harness.executors.worker import Order, Resources, compute

#: Variables that libraries read once, when they are loaded: how many threads they start.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

#: Seconds between two progress reports of a worker.
REPORT_EVERY = 0.5

DIED = Failure("WorkerDied", "its worker process ended, often because memory ran out: fewer workers need less.", "")


class _Worker(NamedTuple):
    pool: ProcessPoolExecutor
    """with one process, so that a process that dies fails one cell"""
    process_id: int

    def end(self) -> None:
        """End the process; a cell in flight is lost, except for what its training has saved."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process_id, signal.SIGTERM)
        self.pool.shutdown(cancel_futures=True)


class Processes(SingleMachine):
    """``workers`` processes, each with one thread and one cell at a time.

    The number of workers does not change a result. The number of threads does, in the last digits of a product: results
    are not equal to the bit to those of a process with several threads, as between two machines.

    Raises:
        UserError: for fewer than one worker.
    """

    name = "processes"
    description = "worker processes of one thread each on this machine"

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UserError(f"workers = {workers}: it must be 1 or more.")
        self.workers = workers
        self._idle: list[_Worker] = []
        self._steps: Any = multiprocessing.get_context("spawn").Queue()

    def versions(self) -> dict[str, str]:
        return {"threads": "1", "workers": str(self.workers)}

    def stop(self) -> None:
        """End all workers."""
        while self._idle:
            self._idle.pop().end()

    def release(self) -> None:
        # A worker keeps its backbone for the next cell.
        self.stop()

    def compute_cells(self, work: Work, target: TargetWork, inputs: Inputs) -> Iterator[CellResult]:
        """Yield one result per cell; the workers read the inputs from the cache."""
        order, resources = Order.of(work, target), Resources(1, gpu=work.context.device != "cpu")
        waiting = list(target.cells)
        busy: dict[Future[CellResult | Failure], tuple[_Worker, Cell]] = {}
        try:
            while waiting or busy:
                while len(busy) < self.workers:
                    work.check()
                    cell = _take_next(work, waiting, [cell for _, cell in busy.values()])
                    if cell is None:
                        break
                    worker = self._idle.pop() if self._idle else self._start()
                    job = worker.pool.submit(_compute, order, resources, cell.cell_id, work.saved_fits(cell))
                    busy[job] = (worker, cell)
                finished, _ = wait(busy, timeout=0.2, return_when=FIRST_COMPLETED)
                while not self._steps.empty():
                    work.reporter.progress(*self._steps.get())
                work.check()
                for job in finished:
                    worker, cell = busy.pop(job)
                    try:
                        answer = job.result()
                        self._idle.append(worker)
                    except BrokenProcessPool:
                        answer = DIED
                    yield answer if isinstance(answer, CellResult) else failed(cell, work.context, answer)
        finally:
            # Only an interruption leaves some of them busy.
            for worker, _ in busy.values():
                worker.end()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(self._steps,))
        try:
            with _environment_of_workers():
                return _Worker(pool, pool.submit(os.getpid).result())
        except (OSError, BrokenProcessPool) as error:
            raise UserError(f"No worker process could be started ({error}): use fewer workers.") from error


def _take_next(work: Work, waiting: list[Cell], busy: Sequence[Cell]) -> Cell | None:
    """Remove and return the first cell that may be computed now, with the cells before it that other runs compute."""
    for cell in list(waiting):
        if not any(cell.needs_fit_of(other) for other in busy):
            waiting.remove(cell)
            if work.sharing.claim(cell):
                return cell
    return None


@contextlib.contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Set the number of threads, and hold SIGINT back, in processes that are started within the context.

    Ctrl-C reaches every process of a terminal; this process decides what follows from it.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


# ---- in a worker

_steps: Any = None


def _prepare(steps: Any) -> None:
    global _steps
    _steps = steps


def _compute(order: Order, resources: Resources, cell_id: str, saved_fits: Sequence[SavedFit]) -> CellResult | Failure:
    reported = 0.0

    def report(done: int, total: int, what: str) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_EVERY:
            reported = time.monotonic()
            _steps.put((done, total, what))

    try:
        return compute(order, resources, cell_id, saved_fits, progress=report)
    except UserError as error:
        return Failure.of(error)
