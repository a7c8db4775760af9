"""``harness run``: run a suite to a printed leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    StoreOption,
    load_plugins,
    out,
    print_json,
    print_text_table,
    reporter_of,
    width,
)

if TYPE_CHECKING:
    from results.boards.build import Board


def register(app: typer.Typer) -> None:
    app.command(
        "run",
        epilog="Example: harness run --suite demo --dataset folder:photos/by_class. "
        "And, several cells at a time: harness run --suite demo --executor ray --workers 4",
    )(run)


def run(
    suite: Annotated[str, typer.Option("--suite", help="Name of a suite, or the path of a .toml file.")] = "demo",
    dataset: Annotated[str | None, typer.Option(help="photos, folder:PATH of class folders, hf:NAME.")] = None,
    evaluation: Annotated[
        float | None, typer.Option(help="Images kept for evaluation: a number, or a share below 1.", min=0)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Instead of the suite's: a name of `harness list backbones`, timm:NAME, hf:NAME.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Local weights, .safetensors or .pth.")] = None,
    site: Annotated[str | None, typer.Option(help="Module path of the layer, e.g. blocks.11.mlp.fc2.")] = None,
    head: Annotated[str | None, typer.Option(help="own (the backbone's head) or probe (fitted).")] = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights/--no-weights", help="Load pretrained weights; --no-weights uses random ones (timing only)."
        ),
    ] = True,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only these methods; may be given several times.")
    ] = None,
    token_seed: Annotated[
        list[int] | None, typer.Option("--token-seed", help="Instead of the suite's; may be given several times.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting: KEY=VALUE, as method.elude.top_k=60000; may be given several times."),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="tiny: every cell at reduced size on embedded weights and photographs.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out what cannot run here, instead of not starting.")
    ] = False,
    plugin: PluginOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: Annotated[Path | None, typer.Option(help="Where tokens are kept; default: cache/ beside the store.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    rerun: Annotated[bool, typer.Option("--rerun", help="Run finished cells again too.")] = False,
    executor: Annotated[
        str, typer.Option(help="local (this process, one cell at a time), or ray (several, here or on a cluster).")
    ] = "local",
    workers: Annotated[int | None, typer.Option(help="ray: cells at a time.")] = None,
    address: Annotated[
        str | None, typer.Option(help="ray: of a cluster, HOST:6379 or auto; else it starts here.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads per cell; default: one per core.")] = None,
    gpu_share: Annotated[float | None, typer.Option(help="ray: of a GPU a cell; 0.5 puts two on each.")] = None,
    retries: Annotated[
        int | None, typer.Option(help="ray: how often a cell whose worker died is tried again; 2 if not said.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a suite: every cell that is not finished yet.

    What is missing is said before anything starts. Interrupt it and run it again: finished cells are kept.
    """
    from harness.doctor import require
    from harness.executors import create
    from harness.run.parts import run_suite
    from harness.suites.reports import section_reports
    from harness.suites.resolve import resolve_suite
    from results.boards.build import board_json, render_text
    from results.store import open_store

    added = load_plugins(plugin)
    reporter = reporter_of(as_json)
    chosen, told = resolve_suite(
        suite,
        scale=scale,
        settings=setting or [],
        dataset=dataset,
        evaluation=evaluation,
        backbone=backbone,
        checkpoint=None if checkpoint is None else str(checkpoint),
        site=site,
        head=head,
        weights=weights,
        token_seeds=tuple(token_seed) if token_seed else None,
        methods=tuple(method) if method else None,
        extra_methods=tuple(added),
    )
    for sentence in told:
        reporter.say(sentence)
    # A trial of the plumbing is not to stop at a package that one row of it would like.
    options = {"address": address, "threads": threads, "gpu_share": gpu_share, "retries": retries}
    with create(executor, workers=workers, **options) as computing:
        here = computing.planning_device(device)
        able = require(chosen, store, device=here, cache=cache, skip=skip_missing or scale is not None)
        for sentence in able.left_out:
            reporter.say(sentence)
        summary = run_suite(
            able.suite, store, device=device, cache=cache, rerun=rerun, executor=computing, reporter=reporter
        )
    boards = [(part, board) for part in summary.parts for board in _boards(store, part.cell_ids)]
    after = section_reports(able.suite, open_store(store), {part.suite: part.cell_ids for part in summary.parts})
    if as_json:
        shown = [{"suite": part.suite, **board_json(board)} for part, board in boards]
        reports = {name: said.data for name, said in after.items()}
        ending = {"reports": reports, "left_out": able.left_out, "stopped": summary.stopped}
        counts = {key: value for key, value in summary._asdict().items() if key != "parts"}
        print_json({**counts, "boards": shown, **ending})
    else:
        title = None
        for part, board in boards:
            if len(summary.parts) > 1 and part.suite != title:
                title = part.suite
                out(f"\n{part.suite}: {part.description}")
            out("\n" + render_text(board, width(), details=False))
        for table in [table for said in after.values() for table in said.tables]:
            print_text_table(table)
        for sentence in summary.stopped:
            out(f"\n{sentence}")
        out(_closing(summary, store))
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed or summary.stopped:
        raise typer.Exit(1)


def _boards(store: Path, cell_ids: list[str]) -> list[Board]:
    from results.boards.build import leaderboard
    from results.store import open_store

    return leaderboard(open_store(store), cell_ids=cell_ids)


def _closing(summary: Any, store: Path) -> str:
    parts = [f"{summary.finished} cells finished"]
    if summary.kept:
        parts.append(f"{summary.kept} kept from before")
    if summary.failed:
        parts.append(f"{summary.failed} failed (their tracebacks are in the store; the same command tries them again)")
    if summary.broken_images:
        parts.append(f"{summary.broken_images} images could not be read and were left out")
    start = "Interrupted; the same command goes on where this one stopped. " if summary.interrupted else ""
    return f"\n{start}{', '.join(parts)}. Results: {store}"
