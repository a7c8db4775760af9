"""Submission of cells to Ray: targets first, each fit once; a worker that dies costs one attempt."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from harness.backbones.base import Backbone
from harness.cells.plan import Cell
from harness.cells.run_cell import CellResult, Failure, failed, title_of
from harness.errors import UserError, first_line
from harness.executors import worker
from harness.executors.base import Event, Opened, TargetWork, Work
from harness.executors.worker import Answer, Order, Resources

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

    def description(self) -> str:
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
    failures: list[str] = dataclasses.field(default_factory=list)
    """reason for each failed attempt"""

    @property
    def title(self) -> str:
        return self.target.prepared.title if self.cell is None else title_of(self.cell)

    def must_wait_for(self, other: _Job) -> bool:
        """Return True if this job reads what the running job ``other`` writes.

        Cells may share a fit. Targets of one backbone share head, tokens or baseline.
        """
        if self.cell is None or other.cell is None:
            return self.cell is other.cell and self.target.prepared.backbone is other.target.prepared.backbone
        return self.cell.needs_fit_of(other.cell)


class Dispatch:
    """Submission of the cells of one run to one cluster."""

    def __init__(self, ray: Any, cluster: Cluster, work: Work, retries: int) -> None:
        self.ray = ray
        self.cluster = cluster
        self.work = work
        self.retries = retries
        self.orders = {id(target): Order.of(work, target) for target in work.targets}
        self.unopened = deque(
            _Job(target, None, BASE_BYTES + 2 * _bytes_of(target.prepared.backbone)) for target in work.targets
        )
        self.ready: deque[_Job] = deque()
        self.running: dict[Any, _Job] = {}
        self.n_cells = sum(len(target.cells) for target in work.targets)
        self.n_done = 0

    def events(self) -> Iterator[Event]:
        """Yield the events of :meth:`harness.executors.base.Executor.execute`."""
        try:
            while self.unopened or self.ready or self.running:
                self.work.check()
                # Cells of open targets come before targets to open.
                self._submit(self.ready)
                self._submit(self.unopened)
                self._report_progress()
                for reference in self._ended():
                    yield from self._take(self.running.pop(reference), reference)
        finally:
            # A cluster that is gone has no task to cancel.
            with contextlib.suppress(Exception):
                for reference in self.running:
                    self.ray.cancel(reference, force=True)

    def _ended(self) -> list[Any]:
        """Return a task that has ended, waiting for it for a moment."""
        if self.running:
            done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=_STEP_S)
            return list(done)
        if self.unopened:
            # Another run makes the inputs.
            time.sleep(_STEP_S)
        return []

    # ---- submission

    def _submit(self, queue: deque[_Job]) -> None:
        """Submit the jobs of a queue that may run now; the others stay, in their order."""
        waiting: list[_Job] = []
        while queue and (self.cluster.workers is None or len(self.running) < self.cluster.workers):
            job = queue.popleft()
            if any(job.must_wait_for(other) for other in self.running.values()):
                waiting.append(job)
            elif self._is_granted(job):
                self._send(job)
            elif job.cell is None:
                waiting.append(job)
            else:
                self.n_done += 1
        queue.extendleft(reversed(waiting))

    def _is_granted(self, job: _Job) -> bool:
        """Return whether the job is this run's; of two runs on a store one makes the inputs, and one each cell."""
        if job.failures:
            return True
        sharing = self.work.sharing
        return sharing.claim_inputs(job.target.prepared) if job.cell is None else sharing.claim(job.cell)

    def _send(self, job: _Job) -> None:
        order, cell = self.orders[id(job.target)], job.cell
        if cell is None and not job.failures:
            self.work.reporter.say(job.title)
        # A cell whose metrics measure time gets a whole machine (or GPU).
        alone = cell is not None and any(metric.timed for metric in cell.metrics)
        threads = self.cluster.cpus if alone else min(self.cluster.threads, self.cluster.cpus)
        share = self.cluster.gpu_share
        options: dict[str, Any] = {
            "num_cpus": threads,
            "max_retries": 0,
            "memory": min(job.memory, self.cluster.memory),
            "name": "open a target" if cell is None else job.title,
        }
        if share:
            options["num_gpus"] = 1 if alone else share
        if job.failures:
            # Ray prefers the machine that it used last; another one may not have the same fault.
            options["scheduling_strategy"] = "SPREAD"
        resources = Resources(threads, gpu=bool(share))
        function: Any
        arguments: tuple[Any, ...]
        if cell is None:
            ids = [each.cell_id for each in job.target.cells]
            function, arguments = worker.open_target, (order, resources, ids, job.target.ahead)
        else:
            function, arguments = worker.compute, (order, resources, cell.cell_id, self.work.saved_fits(cell))
        self.running[self.ray.remote(function).options(**options).remote(*arguments)] = job

    # ---- results

    def _take(self, job: _Job, reference: Any) -> Iterator[Event]:
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(reference)
        except errors.RayTaskError as error:
            # Raised before the code of the cell: the machine lacks the program, a package, or the folder of the store.
            yield from self._retry(job, _last_line(error.cause or error), error)
        except (errors.TaskUnschedulableError, errors.RuntimeEnvSetupError) as error:
            raise UserError(f"Ray cannot place a cell: {first_line(error)}") from error
        except errors.RayError as error:
            yield from self._retry(job, _reason(error), error)
        else:
            if isinstance(answer, Failure):
                yield from self._give_up(job, answer)
            elif isinstance(answer, Answer):
                self.work.sharing.release_inputs(job.target.prepared)
                yield Opened(job.target.prepared, answer.broken)
                memory = job.memory + answer.token_bytes
                self.ready.extend(_Job(job.target, cell, memory) for cell in job.target.cells)
            else:
                yield self._finish(job, answer)

    def _retry(self, job: _Job, reason: str, error: Exception) -> Iterator[Event]:
        """Submit the job of a failed attempt again, or give it up."""
        job.failures.append(reason)
        attempts = self.retries + 1
        if len(job.failures) < attempts:
            self.work.reporter.say(f"  {job.title}: {reason} Attempt {len(job.failures) + 1} of {attempts} follows.")
            # At the end of the queue, so that another worker is more likely to take it.
            (self.unopened if job.cell is None else self.ready).append(job)
            return
        times = f"{attempts} attempts" if attempts > 1 else "one attempt"
        message = f"Given up after {times}: {reason}"
        yield from self._give_up(job, Failure.of(error)._replace(error_type="WorkerDied", message=message))

    def _give_up(self, job: _Job, failure: Failure) -> Iterator[Event]:
        """Yield a failed result for the cell, or for every cell of a target that could not be opened."""
        if job.cell is not None:
            yield self._finish(job, failed(job.cell, self.work.context, failure))
            return
        self.work.sharing.release_inputs(job.target.prepared)
        for cell in job.target.cells:
            if self.work.sharing.claim(cell):
                yield self._finish(job, failed(cell, self.work.context, failure))

    def _finish(self, job: _Job, result: CellResult) -> CellResult:
        self.n_done += 1
        if len(self.work.targets) == 1:
            return result
        # Cells of several targets finish in any order, so the title names the target.
        return dataclasses.replace(result, title=f"{result.title} at {job.target.prepared.title}")

    def _report_progress(self) -> None:
        labels = [job.cell.label if job.cell else job.title for job in self.running.values()]
        self.work.reporter.progress(self.n_done, self.n_cells, f"running: {', '.join(labels)}")


def _reason(error: Exception) -> str:
    """Return the reason why a worker was lost, as a sentence."""
    reasons = {
        "WorkerCrashedError": "its worker process died (killed, or a crash in compiled code).",
        "OutOfMemoryError": "Ray ended its worker because the machine ran out of memory.",
        "NodeDiedError": "the machine of its worker was lost.",
        "LocalRayletDiedError": "the machine of its worker was lost.",
    }
    return reasons.get(type(error).__name__, f"its result was lost ({first_line(error)}).")


def _last_line(error: BaseException) -> str:
    """Return the last line of the message of an exception; its type if the message is empty."""
    return (str(error).strip().splitlines() or [f"it raised {type(error).__name__}."])[-1]


def _bytes_of(backbone: Backbone) -> int:
    """Return the number of bytes of the weights of a network."""
    return sum(parameter.numel() * parameter.element_size() for parameter in backbone.model.parameters())
