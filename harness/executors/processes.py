"""Cells side by side on one machine: worker processes of one thread each, for many fits that are small.

One fit keeps two cores busy only in part, and more cores less: selecting, transposing and Python itself run on one.
Two fits of one thread each take less time than two fits of two threads, one after the other (``docs/training.md`` has
figures). Sharing tokens and batches between fits in one process could save a tenth of the fastest family's time, and
less of all others; the memory-mapped files are shared by the processes anyway.

The store is written by the process that was started, as with every executor.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from harness import devices
from harness.cells.fit import KnownFit
from harness.cells.inputs import Inputs, open_inputs
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellResult, Failure, Place, failed, run_cell
from harness.errors import UserError
from harness.executors.base import Event, Executor, Opened, TargetWork, Work
from harness.executors.worker import plugin_files
from harness.signals import Interruption, interruptible
from harness.suites import Suite
from methods import numerics
from methods.registry import load_plugin_file

#: What libraries read once, when they are loaded: how many threads they start.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

#: A worker that was asked to stop is killed after so many seconds.
PATIENCE = 10.0

#: Seconds between two reports of a worker on how far it is.
TELL_EVERY = 0.5


class SideBySide(Executor):
    """``workers`` processes, each with one thread and one cell at a time.

    The number of workers does not change a result. The number of threads does, in the last digits of a product: results
    are not equal to the bit to those of a process with several threads, no more than those of two machines are.

    Raises:
        UserError: for fewer than one worker.
    """

    name = "side_by_side"
    description = "worker processes of one thread each on this machine"

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UserError(f"workers = {workers}: it must be 1 or more.")
        self.workers = workers
        self._staff: list[_Worker] = []

    def planning_device(self, device: str) -> str:
        return devices.best_device(device)

    def device_name(self, device: str) -> str:
        return devices.device_name(devices.best_device(device))

    def versions(self) -> dict[str, str]:
        return {"threads": "1", "workers": str(self.workers)}

    def stop(self) -> None:
        """End all workers; a cell in flight is lost, but for what its training has saved."""
        _dismiss(self._staff)
        self._staff = []

    def execute(self, work: Work) -> Iterator[Event]:
        for target in work.targets:
            work.shown.say(target.prepared.title)
            yield from self._target(work, target)

    def _target(self, work: Work, target: TargetWork) -> Iterator[Event]:
        plans = list(dict.fromkeys(cell.plan for cell in target.cells))

        def progress(done: int, total: int, what: str) -> None:
            work.check()
            work.shown.progress(done, total, what)

        try:
            # Made once, here; the workers find it in the cache.
            inputs = open_inputs(
                work.suite, target.prepared, plans, work.cache, device=work.place.device, progress=progress
            )
        except Exception as error:
            # Whatever keeps this target from starting fails its cells; other targets go on.
            for cell in target.cells:
                yield failed(cell, work.place, Failure.of(error))
            return
        yield Opened(target.prepared, inputs.broken.images)
        suite = work.suite.model_copy(update={"targets": (target.prepared.target,)})
        left = deque(target.cells)
        busy: dict[Connection, tuple[_Worker, Cell]] = {}
        try:
            while left or busy:
                work.check()
                while left and len(busy) < self.workers:
                    job = _Job(suite, left[0].cell_id, work.place, work.cache, work.known(left[0]))
                    worker = self._give(job, busy)
                    busy[worker.connection] = (worker, left.popleft())
                for connection in wait(list(busy), timeout=0.2):
                    assert isinstance(connection, Connection)
                    worker, cell = busy[connection]
                    answer = worker.answer()
                    if isinstance(answer, _Step):
                        work.shown.progress(*answer)
                        continue
                    del busy[connection]
                    yield answer if isinstance(answer, CellResult) else failed(cell, work.place, answer)
        finally:
            # Only an interruption leaves some of them busy.
            left_behind = [worker for worker, _ in busy.values()]
            self._staff = [worker for worker in self._staff if worker not in left_behind]
            _dismiss(left_behind)

    def _give(self, job: _Job, busy: dict[Connection, tuple[_Worker, Cell]]) -> _Worker:
        """Hand a job to a worker that waits, or to a new one."""
        self._staff = [worker for worker in self._staff if worker.process.is_alive()]
        for worker in self._staff:
            if worker.connection not in busy:
                with contextlib.suppress(OSError):
                    worker.connection.send(job)
                    return worker
        worker = _hire()
        self._staff.append(worker)
        # One that is dead already says so when it is asked for its answer.
        with contextlib.suppress(OSError):
            worker.connection.send(job)
        return worker


# ---- between the processes


class _Job(NamedTuple):
    """One cell, as a worker finds it again."""

    suite: Suite
    """with the cell's target alone"""
    cell_id: str
    place: Place
    cache: Path
    known: tuple[KnownFit, ...]


class _Step(NamedTuple):
    """How far a cell is."""

    done: int
    total: int
    what: str


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: Connection

    def answer(self) -> _Step | CellResult | Failure:
        """What the worker sent; a failure if it is gone."""
        try:
            found: _Step | CellResult | Failure = self.connection.recv()
            return found
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            return Failure("WorkerDied", f"its worker process {_ending(self.process.exitcode)}.", "")


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else f"signal {-code}"
        hint = "; the system does so where memory runs out: fewer workers need less" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with code {code} before the cell was done"


def _hire() -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, plugin_files()), daemon=True)
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        # Ctrl-C reaches every process of a terminal: workers leave it to this one to say what follows from it.
        with _without_interruptions():
            process.start()
    except OSError as error:
        raise UserError(f"No worker process could be started ({error}): use fewer workers.") from error
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    there.close()
    return _Worker(process, here)


@contextlib.contextmanager
def _without_interruptions() -> Iterator[None]:
    """Hold SIGINT back, also in processes that are started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dismiss(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


# ---- in a worker


def _serve(connection: Connection, plugins: tuple[str, ...]) -> None:
    """Compute one cell after the other until the other side is gone, or asks to stop."""
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt), interruptible() as interruption:
        desk = _Desk(connection, plugins, interruption)
        while True:
            job = connection.recv()
            try:
                answer = desk.compute(job)
            except Exception as error:
                answer = Failure.of(error)
            connection.send(answer)


class _Desk:
    """What a worker keeps from one cell to the next: the loaded target with its cells, and what they read."""

    def __init__(self, connection: Connection, plugins: tuple[str, ...], interruption: Interruption) -> None:
        self.connection, self.plugins, self.interruption = connection, plugins, interruption
        self.last_told = 0.0
        self.suite: Suite | None = None
        self.cells: dict[str, Cell] = {}
        self.inputs: dict[Any, Inputs] = {}

    def compute(self, job: _Job) -> CellResult | Failure:
        numerics.set_threads(1)
        if job.suite != self.suite:
            for file in self.plugins:
                load_plugin_file(file)
            prepared = prepare(job.suite, device=job.place.device)
            self.cells = {cell.cell_id: cell for cell in cells_of(job.suite, prepared)}
            self.suite, self.inputs = job.suite, {}
        cell = self.cells.get(job.cell_id)
        if cell is None:
            message = "a worker process plans other cells than the one that started it: have files changed meanwhile?"
            return Failure("UserError", message, "")
        if cell.plan not in self.inputs:
            self.inputs[cell.plan] = open_inputs(
                job.suite, cell.prepared, [cell.plan], job.cache, device=job.place.device, progress=self._tell
            )
        inputs = self.inputs[cell.plan]
        return run_cell(
            cell,
            inputs.tokens[cell.plan],
            inputs.baseline,
            job.place,
            known=job.known,
            left_out=inputs.left_out(),
            progress=self._tell,
        )

    def _tell(self, done: int, total: int, what: str) -> None:
        self.interruption.check()
        if time.monotonic() - self.last_told >= TELL_EVERY:
            self.last_told = time.monotonic()
            self.connection.send(_Step(done, total, what))
