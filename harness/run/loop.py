"""Plan, execute, record: the loop that turns a suite into rows of the store."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness import devices, doctor, executors, judging, provenance
from harness.atomic import create_partial, remove, remove_leftovers
from harness.cells.fit import known_fits
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import Place
from harness.executors.base import Event, Executor, TargetWork, Work
from harness.progress import Reporter, Silent
from harness.run import stability
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

    A method that raises becomes a failed cell with its traceback, and the others go on; failed cells are tried again
    by the next run. Interrupting loses the cells in flight only.

    Args:
        store_path: the DuckDB file; fitted methods are written to ``artifacts/`` beside it.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        cache: where token sets and baselines are kept; default ``cache/`` beside the store.
        rerun: run finished cells again too.
        executor: who computes: a name of ``harness.executors``, or one that is open already, for several runs.

    Raises:
        UserError: for anything wrong with the suite, before anything is computed.
    """
    if isinstance(executor, str):
        with executors.create(executor) as opened:
            return run(suite, store_path, device=device, cache=cache, rerun=rerun, executor=opened, reporter=reporter)
    shown = reporter or Silent()
    chosen = executor.planning_device(device)
    judging.check(suite)
    doctor.check(suite, store_path, device=chosen, cache=cache)
    prepared = prepare(suite, device=chosen)
    cells = cells_of(suite, prepared)
    file = Path(store_path).expanduser().absolute()
    place = Path(cache).expanduser().absolute() if cache else file.parent / "cache"
    remove(create_partial(place / "probe", folder=False))
    remove_leftovers(place)
    store = open_store(file, read_only=False)
    ids = [cell.cell_id for cell in cells]
    done = set() if rerun else store.finished(ids)
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:6]
    left = [(target, tuple(c for c in cells if c.prepared is target and c.cell_id not in done)) for target in prepared]
    with contextlib.ExitStack() as open_things:
        interruption = open_things.enter_context(interruptible())
        open_things.enter_context(numerics.threads())
        # Nothing is started for nothing.
        described = executor.device_name(device) if any(own for _, own in left) else devices.device_name(chosen)
        for dead in bury(store):
            shown.say(f"The run {dead.run_id} was killed; the {dead.n_done} cells that it recorded are kept.")
        open_things.enter_context(alive(file, run_id))
        store.start_run(
            RunRecord(
                run_id=run_id,
                suite=suite.name,
                command=provenance.command_line(),
                versions={**provenance.versions(), **executor.versions()},
                code_revision=provenance.code_revision(),
                device=described,
                n_planned=len(cells),
            )
        )
        work = Work(
            suite=suite,
            targets=tuple(TargetWork(target, own) for target, own in left if own),
            device=device,
            place=Place(run_id, suite.name, chosen, file.parent),
            cache=place,
            mark=mark(file, run_id),
            shown=shown,
            check=interruption.check,
            known=lambda cell: () if rerun else known_fits(cell, store),
        )
        recorder = Recorder(store, work, shown)
        for sentence in judging.foreseen(suite, [target.backbone.name for target in prepared]):
            shown.say(sentence)
        shown.start(len(cells), len(done))
        if done:
            shown.say(f"{len(done)} of {len(cells)} cells are finished already and are kept.")
        status = "interrupted"
        try:
            _relabel(store, cells, done)
            with contextlib.closing(_each(executor.execute(work))) as events:
                for event in events:
                    recorder.take(event)
            stability.measure_run(store, ids, shown, interruption.check)
            judging.judge_run(suite, store, ids, prepared[0].evaluation, file.parent / "grids", shown)
            status = "finished"
        except KeyboardInterrupt:
            pass
        finally:
            shown.stop()
            store.end_run(run_id, status)
    interrupted = status == "interrupted"
    return RunSummary(run_id, ids, recorder.finished, recorder.failed, len(done), len(recorder.broken), interrupted)


def _each(events: Iterator[Event]) -> Generator[Event, None, None]:
    """The events; closing this closes the executor's own generator, which calls off what still runs."""
    yield from events


def _relabel(store: Store, cells: Sequence[Cell], done: set[str]) -> None:
    """Cells that are kept get the label that this suite gives them, so that one configuration stays one row."""
    present = store.cells()
    old = dict(zip(present["cell_id"], present["label"], strict=True))
    changed = {cell.cell_id: cell.label for cell in cells if cell.cell_id in done and old[cell.cell_id] != cell.label}
    if changed:
        store.relabel(changed)
