"""Submission of cells to Ray: targets first, each fit once; a worker that dies costs one attempt."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.backbones.base import Backbone
from harness.cells.divided_fit import PartFit
from harness.cells.plan import Cell
from harness.cells.run_cell import CellResult, Failure, failed, title_of, work_dir
from harness.errors import UserError, first_line
from harness.executors import worker
from harness.executors.base import Event, Opened, TargetWork, Work
from harness.executors.division import Division, divisible_items, ranges
from harness.executors.part_progress import progress_of
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
    slots: int = 1
    """number of cells that fit on all machines at a time"""
    fit_parts: int | None = None
    """parts into which a fit is divided; None: as many as there are workers without another cell to compute"""

    def description(self) -> str:
        machines = f"{self.nodes} machine{'s' if self.nodes != 1 else ''}"
        workers = "" if self.workers is None else f"{self.workers} worker{'s' if self.workers != 1 else ''} on "
        return f"Ray: {workers}{machines}"


@dataclasses.dataclass
class _Job:
    """Target to open (no cell), cell to compute, or a part of its fit."""

    target: TargetWork
    cell: Cell | None
    memory: int
    """estimated bytes, used by Ray for placement"""
    failures: list[str] = dataclasses.field(default_factory=list)
    """reason for each failed attempt"""
    division: Division | None = None
    """division of the cell's fit; None: the fit is not divided"""
    part: range | None = None
    """items of the fit to compute; None: the whole cell, after its parts"""

    @property
    def title(self) -> str:
        if self.cell is None:
            return self.target.prepared.title
        return title_of(self.cell) if self._part_name is None else f"{title_of(self.cell)}, {self._part_name}"

    @property
    def label(self) -> str:
        """Short title for the line of progress."""
        if self.cell is None:
            return self.title
        return self.cell.label if self._part_name is None else f"{self.cell.label} ({self._part_name})"

    @property
    def _part_name(self) -> str | None:
        return None if self.part is None or self.division is None else self.division.name_of(self.part)

    def must_wait_for(self, other: _Job) -> bool:
        """Return True if this job reads what the running job ``other`` writes.

        Cells may share a fit. Targets of one backbone share head, tokens or baseline. Parts of one fit share nothing.
        """
        if self.division is not None and self.division is other.division:
            return False
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
        self.divided: list[_Job] = []
        """cells whose fit is divided and that are not finished, whether or not one of their parts is running"""
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
            if self._must_wait(job):
                waiting.append(job)
            elif self._is_granted(job):
                parts = self._divide(job, [*waiting, *queue])
                if parts:
                    queue.extendleft(reversed(parts))
                else:
                    self._send(job)
            elif job.cell is None:
                waiting.append(job)
            else:
                self.n_done += 1
        queue.extendleft(reversed(waiting))

    def _must_wait(self, job: _Job) -> bool:
        return any(job.must_wait_for(other) for other in (*self.running.values(), *self.divided))

    def _divide(self, job: _Job, others: Sequence[_Job]) -> list[_Job]:
        """Return the parts of a cell's fit as jobs; none if it is computed as a whole.

        Without a number of parts that the user has set, the fit gets the workers that would otherwise be idle.

        Args:
            others: the jobs that have not been submitted.
        """
        cell = job.cell
        if cell is None or job.failures or job.division is not None:
            return []
        n_parts = self.cluster.fit_parts
        if n_parts is None:
            # A job that waits for this cell, or for a running one, could not use a worker now.
            rivals = [other for other in others if not other.must_wait_for(job) and not self._must_wait(other)]
            n_parts = (self.cluster.slots - len(self.running)) // (1 + len(rivals) + len(self.unopened))
        if n_parts < 2:
            return []
        n_items, problem = divisible_items(cell)
        if problem:
            self.work.reporter.say(f"  {problem}")
        if n_items < 2 or any(fit.fit_id == cell.fit_id for fit in self.work.saved_fits(cell)):
            return []
        folder = work_dir(self.work.context.folder, cell.cell_id)
        job.division = Division(ranges(n_items, n_parts), resumed=folder.is_dir() and any(folder.iterdir()))
        self.divided.append(job)
        return [dataclasses.replace(job, failures=[], part=part) for part in job.division.parts]

    def _is_granted(self, job: _Job) -> bool:
        """Return whether the job is this run's; of two runs on a store one makes the inputs, and one each cell."""
        if job.failures or job.division is not None:
            return True
        sharing = self.work.sharing
        return sharing.claim_inputs(job.target.prepared) if job.cell is None else sharing.claim(job.cell)

    def _send(self, job: _Job) -> None:
        order, cell = self.orders[id(job.target)], job.cell
        if cell is None and not job.failures:
            self.work.reporter.say(job.title)
        # A cell whose metrics measure time gets a whole machine (or GPU).
        alone = cell is not None and job.part is None and any(metric.timed for metric in cell.metrics)
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
        elif job.part is not None:
            function, arguments = worker.compute_part, (order, resources, cell.cell_id, job.part)
        else:
            divided = None if job.division is None else job.division.fit()
            function, arguments = worker.compute, (order, resources, cell.cell_id, self.work.saved_fits(cell), divided)
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
            elif isinstance(answer, PartFit):
                self._part_done(job, answer)
            else:
                yield self._finish(job, answer)

    def _part_done(self, job: _Job, part: PartFit) -> None:
        """Keep the result of a part; after the last one the cell itself is next."""
        assert job.division is not None and job.part is not None
        job.division.results[job.part] = part
        if job.division.is_complete:
            self.ready.appendleft(next(whole for whole in self.divided if whole.division is job.division))

    def _retry(self, job: _Job, reason: str, error: Exception) -> Iterator[Event]:
        """Submit the job of a failed attempt again, or give it up."""
        job.failures.append(reason)
        if job.division is not None:
            # What the lost attempt has computed is kept, but not its time.
            job.division.resumed = True
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
            self._drop_parts(job)
            yield self._finish(job, failed(job.cell, self.work.context, failure))
            return
        self.work.sharing.release_inputs(job.target.prepared)
        for cell in job.target.cells:
            if self.work.sharing.claim(cell):
                yield self._finish(job, failed(cell, self.work.context, failure))

    def _drop_parts(self, job: _Job) -> None:
        """Give up the other parts of a cell's fit; what they have left in the cell's folder serves the next run."""
        if job.division is None:
            return
        self.ready = deque(other for other in self.ready if other.division is not job.division)
        for reference, other in list(self.running.items()):
            if other.division is job.division:
                del self.running[reference]
                # A cluster that is gone has no task to cancel.
                with contextlib.suppress(Exception):
                    self.ray.cancel(reference, force=True)

    def _finish(self, job: _Job, result: CellResult) -> CellResult:
        self.n_done += 1
        self.divided = [other for other in self.divided if other.cell is not job.cell]
        if len(self.work.targets) == 1:
            return result
        # Cells of several targets finish in any order, so the title names the target.
        return dataclasses.replace(result, title=f"{result.title} at {job.target.prepared.title}")

    def _report_progress(self) -> None:
        labels = [job.label for job in self.running.values()]
        for job in self.divided:
            assert job.cell is not None and job.division is not None
            report = progress_of(work_dir(self.work.context.folder, job.cell.cell_id), job.division.parts)
            if report is not None and not job.division.is_complete:
                labels.append(f"{job.cell.label}: {report.done} of {report.total} {report.what}")
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
