"""Run loop: plan the cells of a suite, execute them and record the results in the store."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness import devices, doctor, executors, judging, provenance
from harness.atomic import create_partial, remove, remove_leftovers
from harness.cells.fit import SavedFit, saved_fits
from harness.cells.plan import Cell, PreparedTarget, cells_of, prepare
from harness.cells.run_cell import CellContext
from harness.cells.suitability import require_named, skipped_sentence
from harness.executors.base import Event, Executor, TargetWork, Work
from harness.progress import Reporter, Silent
from harness.run import stability
from harness.run.announce import announce
from harness.run.gpu_release import release_gpus
from harness.run.journal import open_journal
from harness.run.outbox import SETTLE_S, Outbox, waiting_sentence_at_end
from harness.run.recorder import Recorder
from harness.run.shared_work import SharedWork, judging_names
from harness.run.step_times import StepTimes
from harness.run.summary import RunSummary
from harness.run.tokens_ahead import TokensAhead
from harness.signals import interruptible
from harness.suites import Suite
from harness.training_logs import log_dir
from harness.training_logs import require as require_log
from methods import numerics
from methods.tracing import traced
from results import RunRecord, Store
from results.errors import StoreUnavailableError
from results.store.claims import Claims
from results.store.connection import WRITE_PATIENCE_S, Patience
from results.store.liveness import alive, bury, mark
from results.store.spool import spool_end, take_in

#: Seconds for which a run that ends waits to record how it ended.
_END_PATIENCE_S = 1.0


def run(
    suite: Suite,
    store_path: str | Path,
    *,
    device: str = "auto",
    cache: str | Path | None = None,
    rerun: bool = False,
    executor: str | Executor = "local",
    reporter: Reporter | None = None,
    named: Collection[str] = (),
    log: str | None = None,
    upcoming: Sequence[Suite] = (),
) -> RunSummary:
    """Run every cell of a suite that is not finished yet, and record each as soon as it is done.

    A method that raises gives a failed cell with its traceback, and the other cells continue. The next run tries failed
    cells again. An interruption loses only the cells that are being computed.

    Several runs on one store share the cells (:mod:`harness.run.shared_work`). A result that the store cannot take is
    written beside it (:mod:`harness.run.outbox`).

    Args:
        suite: a suite without parts.
        store_path: the DuckDB file; fitted methods are written to ``artifacts/`` beside it.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        cache: folder of token sets and baselines; default: ``cache/`` next to the store.
        rerun: also run finished cells again.
        executor: name of an executor of ``harness.executors``, or an open executor, which several runs can share.
        reporter: receives the progress; default: no output.
        named: names or labels of methods that must not be left out of every target.
        log: name of a training log (:mod:`harness.training_logs`), which receives the metrics of each cell's fit while
            it is trained; default: none. It changes no result.
        upcoming: suites without parts that are run after this one with the same cache. A pass over the probing images
            of this run also makes the tokens that they need of its backbones.

    Raises:
        UserError: if the suite is invalid or cannot run; raised before anything is computed.
    """
    if isinstance(executor, str):
        with executors.create(executor) as opened:
            return run(
                suite,
                store_path,
                device=device,
                cache=cache,
                rerun=rerun,
                executor=opened,
                reporter=reporter,
                named=named,
                log=log,
                upcoming=upcoming,
            )
    reporter = reporter or Silent()
    planning_device = executor.planning_device(device)
    _require(suite, store_path, planning_device, cache, log)
    prepared = _prepared(suite, planning_device, named)
    cells = cells_of(suite, prepared)
    file = Path(store_path).expanduser().absolute()
    cache_dir = _open_cache(Path(cache).expanduser().absolute() if cache else file.parent / "cache")
    store = Store(file, read_only=False, patience=Patience(WRITE_PATIENCE_S, _Waits(file, reporter).tell))
    _take_in(store, reporter)
    seen = store.versions(cell.cell_id for cell in cells)
    done = set() if rerun else {cell_id for cell_id, version in seen.items() if version.status == "finished"}
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:6]
    with contextlib.ExitStack() as open_things:
        interruption = open_things.enter_context(interruptible())
        open_things.enter_context(numerics.threads())
        # An executor is only started if cells are left to compute.
        remaining = [cell for cell in cells if cell.cell_id not in done]
        device_name = executor.device_name(device) if remaining else devices.device_name(planning_device)
        for dead in bury(store):
            reporter.say(f"The run {dead.run_id} was killed; its {dead.n_done} recorded cells are kept.")
        open_things.enter_context(alive(file, run_id))
        claims = open_things.enter_context(contextlib.closing(Claims(file, run_id)))
        claims.remove_leftovers()
        store.start_run(_run_record(run_id, suite, executor, device_name, len(cells)))
        _relabel(store, cells, done)
        journal = open_things.enter_context(contextlib.closing(open_journal(reporter, store, remaining, run_id)))
        outbox = Outbox(store, seen, journal)
        shared = SharedWork(claims, remaining, outbox, journal, interruption.check)
        work = Work(
            suite=suite,
            targets=(),
            device=device,
            context=CellContext(run_id, suite.name, planning_device, file.parent, log),
            cache=cache_dir,
            mark=mark(file, run_id),
            reporter=journal,
            check=interruption.check,
            saved_fits=lambda cell: () if rerun else _saved_fits(cell, outbox, recorder),
            sharing=shared,
        )
        recorder = Recorder(outbox, shared, work, journal, StepTimes(suite, remaining, cache_dir, planning_device))
        _announce(suite, prepared, len(cells), len(done), journal, work.context)
        status = "interrupted"
        try:
            _compute(
                executor, work, prepared, recorder, TokensAhead(suite, upcoming if remaining else (), prepared, store)
            )
            if outbox.settle(interruption.check):
                shared.settled()
                patient = Store(file, read_only=False, patience=Patience(SETTLE_S, _Waits(file, journal).tell))
                _finish(suite, prepared, cells, patient, shared, journal, executor)
                status = "finished"
        except KeyboardInterrupt:
            pass
        except StoreUnavailableError as error:
            journal.say(str(error))
        finally:
            journal.stop()
            _end_run(outbox, run_id, status, journal)
        recorder.times.report(journal)
    return RunSummary(
        run_id,
        [cell.cell_id for cell in cells],
        recorder.finished,
        recorder.failed,
        len(done),
        len(recorder.broken),
        status == "interrupted",
        elsewhere=len(shared.elsewhere),
        waiting=len(outbox.waiting),
    )


@traced("loading of networks and images")
def _prepared(suite: Suite, device: str, named: Collection[str]) -> list[PreparedTarget]:
    prepared = prepare(suite, device=device)
    require_named(suite, prepared, named)
    return prepared


def _require(suite: Suite, store_path: str | Path, device: str, cache: str | Path | None, log: str | None) -> None:
    """Check what a run needs before anything is computed. Raises UserError."""
    if log is not None:
        require_log(log)
    judging.check_panel(suite)
    doctor.require(suite, store_path, device=device, cache=cache)


class _Waits:
    """Messages on the process that a run waits for at its start and its end, one per process."""

    def __init__(self, file: Path, reporter: Reporter) -> None:
        self.file = file
        self.reporter = reporter

    def tell(self, holder: str) -> None:
        self.reporter.say_once(f"{holder[0].upper()}{holder[1:]} holds {self.file}; this run waits for it.")


def _open_cache(folder: Path) -> Path:
    """Create the cache, remove what killed processes left there, and return it. Raises UserError."""
    remove(create_partial(folder / "probe", folder=False))
    remove_leftovers(folder)
    return folder


def _run_record(run_id: str, suite: Suite, executor: Executor, device_name: str, n_planned: int) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        suite=suite.name,
        command=provenance.command_line(),
        versions={**provenance.versions(), **executor.versions()},
        code_revision=provenance.code_revision(),
        device=device_name,
        n_planned=n_planned,
    )


def _announce(
    suite: Suite,
    prepared: Sequence[PreparedTarget],
    n_cells: int,
    n_done: int,
    reporter: Reporter,
    context: CellContext,
) -> None:
    for sentence in judging.panel_problems(suite, [target.backbone.name for target in prepared]):
        reporter.say(sentence)
    announce(prepared, reporter)
    for target in prepared:
        if sentence := skipped_sentence(suite, target):
            reporter.say(sentence)
    reporter.start(n_cells, n_done)
    if n_done:
        reporter.say(f"{n_done} of {n_cells} cells are already finished and are kept.")
    if context.log is not None and n_done < n_cells:
        reporter.say_once(require_log(context.log).location(log_dir(context.folder, context.log)))


def _take_in(store: Store, reporter: Reporter) -> None:
    """Create the store if there is none, and write the results to it that wait beside it."""
    with store.writing():
        pass
    taken = take_in(store)
    for sentence in taken.damaged:
        reporter.say(sentence)
    if n := len(taken.recorded):
        results = "1 result" if n == 1 else f"{n} results"
        reporter.say(f"{results} that waited beside the store {'was' if n == 1 else 'were'} recorded.")


def _compute(
    executor: Executor, work: Work, prepared: Sequence[PreparedTarget], recorder: Recorder, ahead: TokensAhead
) -> None:
    """Compute the cells that no other run computes, until each has a result."""
    shared = recorder.shared
    claimable: Sequence[Cell] = list(shared.open.values())
    while claimable:
        targets = [
            TargetWork(target, tuple(c for c in claimable if c.prepared is target), ahead.of(target, claimable))
            for target in prepared
        ]
        offered = work._replace(targets=tuple(target for target in targets if target.cells))
        with contextlib.closing(_each(executor.execute(offered))) as events:
            for event in events:
                recorder.take(event)
        shared.end_pass()
        claimable = shared.wait()


def _finish(
    suite: Suite,
    prepared: Sequence[PreparedTarget],
    cells: Sequence[Cell],
    store: Store,
    shared: SharedWork,
    reporter: Reporter,
    executor: Executor,
) -> None:
    """Measure stability and judge, one run after the other: the second finds what the first has stored."""
    ids = [cell.cell_id for cell in cells]
    with shared.alone(["stability"], "measures the stability of methods"):
        stability.measure_run(store, ids, reporter, shared.check)
    names = judging_names(prepared) if suite.judging is not None else []
    with shared.alone(names, "asks judges about the same images"):
        release = functools.partial(release_gpus, prepared, executor, reporter)
        judging.judge_run(suite, store, ids, prepared[0].evaluation, store.path.parent / "grids", reporter, release)


def _end_run(outbox: Outbox, run_id: str, status: str, reporter: Reporter) -> None:
    """Record how the run ended, beside the store if it cannot be written, and report what could not be recorded."""
    outbox.flush(_END_PATIENCE_S)
    try:
        outbox.store(_END_PATIENCE_S).end_run(run_id, status)
    except StoreUnavailableError:
        # On a full disk the next run finds that this one has ended.
        with contextlib.suppress(OSError):
            spool_end(outbox.path, run_id, status)
    if sentence := waiting_sentence_at_end(outbox):
        reporter.say(sentence)


def _saved_fits(cell: Cell, outbox: Outbox, recorder: Recorder) -> tuple[SavedFit, ...]:
    """Return the fits that a cell can load; those of the store are missing while it cannot be read."""
    stored: tuple[SavedFit, ...] = ()
    with contextlib.suppress(StoreUnavailableError):
        stored = saved_fits(cell, outbox.store())
    return (*stored, *recorder.waiting_fits(cell))


def _each(events: Iterator[Event]) -> Generator[Event, None, None]:
    """Yield the events; closing this generator closes that of the executor, which cancels the running cells."""
    yield from events


def _relabel(store: Store, cells: Sequence[Cell], done: set[str]) -> None:
    """Give kept cells the labels of this suite, so that one configuration stays one row."""
    if not done:
        return
    present = store.cells()
    old = dict(zip(present["cell_id"], present["label"], strict=True))
    changed = {cell.cell_id: cell.label for cell in cells if cell.cell_id in done and old[cell.cell_id] != cell.label}
    if changed:
        store.relabel(changed)
