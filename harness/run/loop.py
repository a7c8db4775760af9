"""Run loop: plan the cells of a suite, execute them and record the results in the store."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness import devices, doctor, executors, judging, provenance
from harness.atomic import create_partial, remove, remove_leftovers
from harness.cells.fit import saved_fits
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellContext
from harness.executors.base import Event, Executor, TargetWork, Work
from harness.progress import Reporter, Silent
from harness.run import stability
from harness.run.announce import announce
from harness.run.recorder import Recorder
from harness.run.summary import RunSummary
from harness.signals import interruptible
from harness.suites import Suite
from methods import numerics
from results import RunRecord, Store, open_store
from results.store.liveness import alive, bury, mark


def run(
    suite: Suite,
    store_path: str | Path,
    *,
    device: str = "auto",
    cache: str | Path | None = None,
    rerun: bool = False,
    executor: str | Executor = "local",
    reporter: Reporter | None = None,
) -> RunSummary:
    """Run every cell of a suite that is not finished yet, and record each as soon as it is done.

    A method that raises gives a failed cell with its traceback, and the other cells continue. The next run tries failed
    cells again. An interruption loses only the cells that are being computed.

    Args:
        suite: a suite without parts.
        store_path: the DuckDB file; fitted methods are written to ``artifacts/`` beside it.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        cache: folder of token sets and baselines; default: ``cache/`` next to the store.
        rerun: also run finished cells again.
        executor: name of an executor of ``harness.executors``, or an open executor, which several runs can share.
        reporter: receives the progress; default: no output.

    Raises:
        UserError: if the suite is invalid or cannot run; raised before anything is computed.
    """
    if isinstance(executor, str):
        with executors.create(executor) as opened:
            return run(suite, store_path, device=device, cache=cache, rerun=rerun, executor=opened, reporter=reporter)
    reporter = reporter or Silent()
    planning_device = executor.planning_device(device)
    judging.check_panel(suite)
    doctor.require(suite, store_path, device=planning_device, cache=cache)
    prepared = prepare(suite, device=planning_device)
    cells = cells_of(suite, prepared)
    file = Path(store_path).expanduser().absolute()
    cache_dir = Path(cache).expanduser().absolute() if cache else file.parent / "cache"
    remove(create_partial(cache_dir / "probe", folder=False))
    remove_leftovers(cache_dir)
    store = open_store(file, read_only=False)
    ids = [cell.cell_id for cell in cells]
    done = set() if rerun else store.finished(ids)
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:6]
    work_by_target = [
        TargetWork(target, tuple(c for c in cells if c.prepared is target and c.cell_id not in done))
        for target in prepared
    ]
    remaining = tuple(target_work for target_work in work_by_target if target_work.cells)
    with contextlib.ExitStack() as open_things:
        interruption = open_things.enter_context(interruptible())
        open_things.enter_context(numerics.threads())
        # An executor is only started if cells are left to compute.
        device_name = executor.device_name(device) if remaining else devices.device_name(planning_device)
        for dead in bury(store):
            reporter.say(f"The run {dead.run_id} was killed; its {dead.n_done} recorded cells are kept.")
        open_things.enter_context(alive(file, run_id))
        store.start_run(
            RunRecord(
                run_id=run_id,
                suite=suite.name,
                command=provenance.command_line(),
                versions={**provenance.versions(), **executor.versions()},
                code_revision=provenance.code_revision(),
                device=device_name,
                n_planned=len(cells),
            )
        )
        work = Work(
            suite=suite,
            targets=remaining,
            device=device,
            context=CellContext(run_id, suite.name, planning_device, file.parent),
            cache=cache_dir,
            mark=mark(file, run_id),
            reporter=reporter,
            check=interruption.check,
            saved_fits=lambda cell: () if rerun else saved_fits(cell, store),
        )
        recorder = Recorder(store, work, reporter)
        for sentence in judging.panel_problems(suite, [target.backbone.name for target in prepared]):
            reporter.say(sentence)
        announce(prepared, reporter)
        reporter.start(len(cells), len(done))
        if done:
            reporter.say(f"{len(done)} of {len(cells)} cells are already finished and are kept.")
        status = "interrupted"
        try:
            _relabel(store, cells, done)
            with contextlib.closing(_each(executor.execute(work))) as events:
                for event in events:
                    recorder.take(event)
            stability.measure_run(store, ids, reporter, interruption.check)
            judging.judge_run(suite, store, ids, prepared[0].evaluation, file.parent / "grids", reporter)
            status = "finished"
        except KeyboardInterrupt:
            pass
        finally:
            reporter.stop()
            store.end_run(run_id, status)
    interrupted = status == "interrupted"
    return RunSummary(run_id, ids, recorder.finished, recorder.failed, len(done), len(recorder.broken), interrupted)


def _each(events: Iterator[Event]) -> Generator[Event, None, None]:
    """Yield the events; closing this generator closes that of the executor, which cancels the running cells."""
    yield from events


def _relabel(store: Store, cells: Sequence[Cell], done: set[str]) -> None:
    """Give kept cells the labels of this suite, so that one configuration stays one row."""
    present = store.cells()
    old = dict(zip(present["cell_id"], present["label"], strict=True))
    changed = {cell.cell_id: cell.label for cell in cells if cell.cell_id in done and old[cell.cell_id] != cell.label}
    if changed:
        store.relabel(changed)
