"""``harness run``: run a suite and print its leaderboard."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import (
    MOST_PROCESSES,
    MOST_SEED,
    ComputeOptions,
    JsonOption,
    LayerOptions,
    PluginOption,
    ScaleOption,
    load_plugins,
    verb,
)
from harness.commands.output import out, print_json, print_text_table, reporter_of, width
from harness.commands.rehearsal_output import rehearsal, require_rehearsable
from harness.errors import UserError
from harness.suites.tiny import REHEARSAL
from results.errors import StoreUnavailableError

if TYPE_CHECKING:
    from harness.doctor import RunnableSuite
    from harness.executors import Executor
    from harness.run import RunSummary


#: The module of a verb is imported when the verb is called.
_STARTED = time.monotonic()


@dataclass(frozen=True)
class RunOptions(LayerOptions):
    """Options that select a suite and the cells of it that are run."""

    evaluation: Annotated[
        float | None,
        typer.Option(
            help="Number of evaluation images, or a fraction below 1; default: the suite's, or 0.4 with other images.",
            min=0,
            max=100_000_000,
        ),
    ] = None
    head: Annotated[
        str | None,
        typer.Option(
            help="Classification head: own (the backbone's), probe (fitted) or another; default: the suite's."
        ),
    ] = None
    weights: Annotated[
        bool,
        typer.Option(
            "--weights/--no-weights", help="Load pretrained weights; --no-weights uses random ones (timing only)."
        ),
    ] = True
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Run only this method; repeatable; default: all.")
    ] = None
    token_seed: Annotated[
        list[int] | None,
        typer.Option(
            "--token-seed",
            help="Seed of the sampling of tokens; repeatable; default: those of the suite.",
            min=0,
            max=MOST_SEED,
        ),
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics: all, default, or ids with commas between them; default: those of the suite."),
    ] = None
    dictionary: Annotated[
        list[str] | None,
        typer.Option(
            "--dictionary",
            help="Weights of a trained dictionary, FILE or FILE:LABEL, as a further row; repeatable; default: none.",
        ),
    ] = None
    scale: ScaleOption = None

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the methods, and labels of the dictionaries, that the options ask for."""
        from harness.suites.dictionaries import dictionary_entries

        return (*(self.method or ()), *(entry.label or "" for entry in dictionary_entries(self.dictionary or ())))


@dataclass(frozen=True)
class ExecutorOptions:
    """Options of the executor that computes the cells."""

    executor: Annotated[
        str, typer.Option(help="local (this process, one cell at a time) or ray (several, here or on a cluster).")
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            help="ray: number of cells at a time; default: one per GPU share, or per core if memory allows.",
            min=1,
            max=MOST_PROCESSES,
        ),
    ] = None
    address: Annotated[
        str | None, typer.Option(help="ray: address of a cluster, HOST:6379 or auto; default: start Ray here.")
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads per cell; default: all cores, divided by the workers.", min=1, max=4096),
    ] = None
    gpu_share: Annotated[
        float | None,
        typer.Option(help="ray: GPU share per cell, 0.5 puts two cells on each GPU; default: 1.", min=0.001, max=1),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(help="ray: number of times a cell is retried after its worker died; default: 2.", min=0, max=1000),
    ] = None
    fit_parts: Annotated[
        int | None,
        typer.Option(
            help="ray: number of parts into which a fit of independent units (ELUDe) is divided; default: one per idle "
            "worker.",
            min=1,
            max=100_000,
        ),
    ] = None

    def create(self) -> Executor:
        """Create the executor.

        Raises:
            UserError: an unknown executor, or an option that it does not have.
        """
        from harness.executors import create

        options = {key: value for key, value in vars(self).items() if key != "executor"}
        return create(self.executor, **options)


@verb(
    "harness run --suite demo --dataset folder:photos/by_class", "harness run --suite demo --executor ray --workers 4"
)
def run(
    choice: RunOptions,
    compute: ComputeOptions,
    executor: ExecutorOptions,
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Skip parts and methods that cannot run here, instead of refusing."),
    ] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="Run finished cells again.")] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Minutes for --scale rehearsal, which chooses its sizes to fit; default: 25 on a CPU, 7 on a GPU.",
            min=0.05,
            max=10_000,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Training log of each cell: wandb, tensorboard, trackio or one of a plugin; default: none. It changes "
            "no result."
        ),
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every cell of a suite that is not finished yet, and print the boards.

    Missing requirements are reported before anything is computed. Finished cells are kept: after an interruption, run
    the same command again.

    With --scale rehearsal, each kind of work of the suite is timed at its real shapes, with random weights and
    synthetic images, and the time of the whole suite is extrapolated. Results are neither read nor written.
    """
    added = load_plugins(plugin)
    reporter = reporter_of(as_json)
    created = executor.create()
    if budget is not None and choice.scale != REHEARSAL:
        raise UserError("--budget belongs to --scale rehearsal: give both.")
    if choice.scale == REHEARSAL:
        require_rehearsable(choice, executor.executor, log)
        suite, _ = dataclasses.replace(choice, scale=None).choose(extra_methods=tuple(added))
        with created as opened:
            rehearsal(suite, compute, opened, reporter, budget=budget, rerun=rerun, as_json=as_json)
        return
    if log is not None:
        from harness.training_logs import require as require_log

        require_log(log)
    suite, notes = choice.choose(extra_methods=tuple(added))
    from harness.doctor import require
    from harness.run import run_suite

    for sentence in notes:
        reporter.say(sentence)
    with created as opened:
        device = opened.planning_device(compute.device)
        # A tiny run is a trial: it does not stop because one row misses a package.
        skip = skip_missing or choice.scale is not None
        runnable = require(suite, compute.store, device=device, cache=compute.cache, skip=skip)
        for sentence in runnable.left_out:
            reporter.say(sentence)
        summary = run_suite(
            runnable.suite,
            compute.store,
            device=compute.device,
            cache=compute.cache,
            rerun=rerun,
            executor=opened,
            reporter=reporter,
            # A trial at reduced size may have other layers than those that the methods are for.
            named=() if choice.scale is not None else choice.named,
            log=log,
        )
    try:
        _print(summary, runnable, compute.store, as_json)
    except StoreUnavailableError as error:
        # The counts are known without the store, in which nothing can be read now.
        _print_counts(summary, compute.store, as_json, str(error))
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed or summary.stopped:
        raise typer.Exit(1)


def _print(summary: RunSummary, runnable: RunnableSuite, path: Path, as_json: bool) -> None:
    """Print the boards of a run, the tables of the suite's sections, and the counts of cells."""
    from harness.suites.reports import section_reports
    from results.boards.build import board_json, render_text
    from results.boards.text import headline_text
    from results.comparison.headline import with_headline
    from results.comparison.leaderboard import leaderboard
    from results.store import open_store

    store = open_store(path)
    boards = [
        (part, with_headline(store, board))
        for part in summary.parts
        for board in leaderboard(store, cell_ids=part.cell_ids)
    ]
    sections = section_reports(runnable.suite, store, {part.suite: part.cell_ids for part in summary.parts})
    if as_json:
        return print_json(
            {
                **_counts(summary),
                "boards": [{"suite": part.suite, **board_json(board)} for part, board in boards],
                "reports": {name: section.data for name, section in sections.items()},
                "left_out": runnable.left_out,
                "stopped": summary.stopped,
            }
        )
    title = None
    for part, board in boards:
        if len(summary.parts) > 1 and part.suite != title:
            title = part.suite
            out(f"\n{part.suite}: {part.description}")
        # The headline ends the run instead.
        out("\n" + render_text(dataclasses.replace(board, headline=()), width(), details=False))
    for table in [table for section in sections.values() for table in section.tables]:
        print_text_table(table)
    for sentence in summary.stopped:
        out(f"\n{sentence}")
    for _, board in boards:
        if board.headline:
            out("\n" + "\n".join([f"{board.layer_title}:", *headline_text(board, width())]))
    out(_closing(summary, path))


def _print_counts(summary: RunSummary, path: Path, as_json: bool, problem: str) -> None:
    if as_json:
        return print_json({**_counts(summary), "boards": [], "problem": problem})
    out(f"\nNo boards: {problem}")
    out(_closing(summary, path))


def _counts(summary: RunSummary) -> dict[str, Any]:
    return {key: value for key, value in summary._asdict().items() if key != "parts"}


def _closing(summary: RunSummary, path: Path) -> str:
    parts = [f"{summary.finished} cells finished"]
    if summary.kept:
        parts.append(f"{summary.kept} kept from earlier runs")
    if summary.elsewhere:
        parts.append(f"{summary.elsewhere} computed by other runs meanwhile")
    if summary.waiting:
        parts.append(f"{summary.waiting} waiting beside the store, where the next run takes them in")
    if summary.failed:
        parts.append(f"{summary.failed} failed (tracebacks are in the store; run the same command to retry)")
    if summary.broken_images:
        parts.append(f"{summary.broken_images} images left out")
    start = "Interrupted; run the same command to continue. " if summary.interrupted else ""
    return f"\n{start}{', '.join(parts)}{_time_text()}. Results: {path}"


def _time_text() -> str:
    """Return the time since this module was imported, and the CPU time of this process and its ended children."""
    from results.duration_text import duration_text

    elapsed = time.monotonic() - _STARTED
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    return f" in {duration_text(elapsed)} ({duration_text(cpu)} of CPU time)"
