"""Submission of cells to Ray: targets first, each fit once; a worker that dies costs one attempt."""

from __future__ import annotations

import dataclasses
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.backbones.base import Backbone
from harness.cells.plan import Cell
from harness.cells.run_cell import CellResult, Failure, failed, title_of
from harness.errors import UserError
from harness.executors import worker
from harness.executors.base import Event, Opened, TargetWork, Work
from harness.executors.worker import Answer, Order, Resources

#: Metrics that measure time: their cell gets a whole machine (or GPU).
TIMED = frozenset({"efficiency_ratio"})

#: Memory of Python with torch and its libraries, before anything is loaded.
BASE_BYTES = 2**30

#: Seconds to wait for Ray before checking for an interruption.
_STEP_S = 0.5


class Cluster(NamedTuple):
    """Machines that compute."""

    nodes: int
    cpus: int
    """of the largest machine"""
    memory: int
    """bytes that Ray offers on the largest machine"""
    workers: int | None
    """cells at a time; None: as many as fit"""
    threads: int
    """CPU threads per cell"""
    gpu_share: float
    """share of a GPU per cell; 0: cells run on CPUs"""

    def described(self) -> str:
        machines = f"{self.nodes} machine{'s' if self.nodes != 1 else ''}"
        workers = "" if self.workers is None else f"{self.workers} worker{'s' if self.workers != 1 else ''} on "
        return f"Ray: {workers}{machines}"


@dataclasses.dataclass
class _Job:
    """Target to open (no cell), or cell to compute."""

    target: TargetWork
    cell: Cell | None
    memory: int
    """estimated bytes, used by Ray for placement"""
    lost: list[str] = dataclasses.field(default_factory=list)
    """reason for each failed attempt"""


class Dispatch:
    """Submission of the cells of one run to one cluster."""

    def __init__(self, ray: Any, cluster: Cluster, work: Work, retries: int) -> None:
        self.ray = ray
        self.cluster = cluster
        self.work = work
        self.retries = retries
        self.orders: dict[int, Order] = {
            id(target): worker.order(work.suite, target.prepared.target, work.context, work.cache, work.mark)
            for target in work.targets
        }
        self.unopened = deque(
            _Job(target, None, BASE_BYTES + 2 * _bytes_of(target.prepared.backbone)) for target in work.targets
        )
        self.ready: deque[_Job] = deque()
        self.flying: dict[Any, _Job] = {}
        self.n_cells = sum(len(target.cells) for target in work.targets)
        self.n_done = 0

    def events(self) -> Iterator[Event]:
        """Yield the events of :meth:`harness.executors.base.Executor.execute`."""
        try:
            while self.unopened or self.ready or self.flying:
                self.work.check()
                self._submit_ready()
                self._show()
                done, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=_STEP_S)
                for reference in done:
                    yield from self._taken(self.flying.pop(reference), reference)
        finally:
            self._cancel()

    # ---- submission

    def _submit_ready(self) -> None:
        """Submit all jobs that may run now: cells of open targets first, then targets to open."""
        same_fit: list[_Job] = []
        while self.ready and self._room():
            job = self.ready.popleft()
            if job.cell is not None and job.cell.fit_id in self._fits_in_progress():
                same_fit.append(job)
            else:
                self._send(job)
        self.ready.extendleft(reversed(same_fit))
        later: list[_Job] = []
        while self.unopened and self._room():
            job = self.unopened.popleft()
            # Targets of one backbone share head, tokens or baseline: the second reads what the first has cached.
            if id(job.target.prepared.backbone) in self._backbones_being_opened():
                later.append(job)
                continue
            if not job.lost:
                self.work.reporter.say(job.target.prepared.title)
            self._send(job)
        self.unopened.extendleft(reversed(later))

    def _room(self) -> bool:
        return self.cluster.workers is None or len(self.flying) < self.cluster.workers

    def _fits_in_progress(self) -> set[str]:
        return {job.cell.fit_id for job in self.flying.values() if job.cell is not None}

    def _backbones_being_opened(self) -> set[int]:
        return {id(job.target.prepared.backbone) for job in self.flying.values() if job.cell is None}

    def _send(self, job: _Job) -> None:
        given, cell = self.orders[id(job.target)], job.cell
        alone = cell is not None and any(metric.id in TIMED for metric in cell.metrics)
        threads = self.cluster.cpus if alone else min(self.cluster.threads, self.cluster.cpus)
        share = self.cluster.gpu_share
        options: dict[str, Any] = {
            "num_cpus": threads,
            "max_retries": 0,
            "memory": min(job.memory, self.cluster.memory),
            "name": "open a target" if cell is None else title_of(cell),
        }
        if share:
            options["num_gpus"] = 1 if alone else share
        if job.lost:
            # Ray prefers the machine that it used last; another one may not have the same fault.
            options["scheduling_strategy"] = "SPREAD"
        resources = Resources(threads, gpu=bool(share))
        arguments: tuple[Any, ...]
        if cell is None:
            function: Any = worker.open_target
            arguments = (given, resources, [one.cell_id for one in job.target.cells])
        else:
            function, arguments = worker.compute, (given, resources, cell.cell_id, self.work.known_fits(cell))
        self.flying[self.ray.remote(function).options(**options).remote(*arguments)] = job

    # ---- results

    def _taken(self, job: _Job, reference: Any) -> Iterator[Event]:
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(reference)
        except errors.RayTaskError as error:
            # Raised before the code of the cell: the machine lacks the program, a package, or the folder of the store.
            yield from self._lost(job, _last_line(error.cause or error), error)
            return
        except (errors.TaskUnschedulableError, errors.RuntimeEnvSetupError) as error:
            raise UserError(f"Ray cannot place a cell: {_first_line(error)}") from error
        except errors.RayError as error:
            yield from self._lost(job, _why(error), error)
            return
        if isinstance(answer, Failure):
            yield from self._given_up(job, answer)
        elif isinstance(answer, Answer):
            yield Opened(job.target.prepared, answer.broken)
            memory = job.memory + answer.token_bytes
            self.ready.extend(_Job(job.target, cell, memory) for cell in job.target.cells)
        else:
            yield self._finished(job, answer)

    def _lost(self, job: _Job, why: str, error: Exception) -> Iterator[Event]:
        """Submit the job of a failed attempt again, or give it up."""
        job.lost.append(why)
        attempts = self.retries + 1
        what = job.target.prepared.title if job.cell is None else title_of(job.cell)
        if len(job.lost) < attempts:
            self.work.reporter.say(f"  {what}: {why} Attempt {len(job.lost) + 1} of {attempts} follows.")
            # At the end of the queue, so that another worker is more likely to take it.
            (self.unopened if job.cell is None else self.ready).append(job)
            return
        times = f"{attempts} attempts" if attempts > 1 else "one attempt"
        text = "".join(traceback.format_exception(error)).replace(str(Path(__file__).parents[2]), ".")
        yield from self._given_up(job, Failure("WorkerDied", f"Given up after {times}: {why}", text))

    def _given_up(self, job: _Job, failure: Failure) -> Iterator[Event]:
        """Yield a failed result for the cell, or for every cell of a target that could not be opened."""
        for cell in job.target.cells if job.cell is None else (job.cell,):
            yield self._finished(job, failed(cell, self.work.context, failure))

    def _finished(self, job: _Job, result: CellResult) -> CellResult:
        self.n_done += 1
        if len(self.work.targets) == 1:
            return result
        # Cells of several targets finish in any order, so the title names the target.
        return dataclasses.replace(result, title=f"{result.title} at {job.target.prepared.title}")

    def _show(self) -> None:
        labels = [job.cell.label if job.cell else job.target.prepared.title for job in self.flying.values()]
        self.work.reporter.progress(self.n_done, self.n_cells, f"running: {', '.join(labels)}")

    def _cancel(self) -> None:
        """Cancel the tasks that still run."""
        for reference in self.flying:
            # A cluster that is gone has no task to cancel.
            try:
                self.ray.cancel(reference, force=True)
            except Exception:
                return
        self.flying.clear()


def _why(error: Exception) -> str:
    """Return the reason why a worker was lost, as a sentence."""
    kind = type(error).__name__
    reasons = {
        "WorkerCrashedError": "its worker process died (killed, or a crash in compiled code).",
        "OutOfMemoryError": "Ray ended its worker because the machine ran out of memory.",
        "NodeDiedError": "the machine of its worker was lost.",
        "LocalRayletDiedError": "the machine of its worker was lost.",
    }
    return reasons.get(kind, f"its result was lost ({kind}: {_first_line(error)}).")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: BaseException) -> str:
    """Return the last line of the message of an exception; its type if the message is empty."""
    return (str(error).strip().splitlines() or [f"it raised {type(error).__name__}."])[-1]


def _bytes_of(backbone: Backbone) -> int:
    """Return the number of bytes of the weights of a network."""
    return sum(parameter.numel() * parameter.element_size() for parameter in backbone.model.parameters())
