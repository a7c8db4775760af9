"""``harness explain``: let judges name the concepts of units, and look for them in held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.judged_parts import judges_of, stored_parts
from harness.commands.options import (
    DEFAULT_STORE,
    MOST_SEED,
    JsonOption,
    PluginOption,
    ScaleOption,
    StoreOption,
    SuiteOptions,
    load_plugins,
    verb,
)
from harness.commands.output import out, print_json, print_table, reporting, take_in_waiting
from harness.errors import UserError
from harness.suites.known_names import PANEL, require_known

if TYPE_CHECKING:
    from harness.judging.explaining import ExplainedCell
    from harness.stats import JudgedMean


@verb(
    "harness explain --suite demo --panel openai --judge MODEL@http://HOST:8000/v1 --dry-run",
    "harness explain --suite demo --panel vllm --units 100",
)
def explain(
    choice: SuiteOptions,
    panel: Annotated[
        str | None, typer.Option(help="Judge panel of vision-language models: vllm or openai; default: the suite's.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option("--judge", help="Judge: MODEL or MODEL@URL; default: those of the panel."),
    ] = None,
    units: Annotated[int, typer.Option(help="Units per cell, drawn with --seed.", min=1, max=1_000_000)] = 50,
    images: Annotated[
        int, typer.Option(help="Held-out images that show a unit, and as many that do not.", min=4, max=1000)
    ] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of the drawn units and images.", min=0, max=MOST_SEED)] = 0,
    scale: ScaleOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the number of calls and tokens only.")] = False,
    plugin: PluginOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Let judges name the concept of each unit and look for it in held-out images (autointerp score).

    The score is the balanced accuracy of the answers; 0.5 is chance. The control uses the concept of another unit. Give
    --dataset, --scale and --set the values of `harness run`; --set also takes judging.KEY=VALUE. Replies are stored as
    they arrive: after an interruption, run the same command again. No question is asked twice.
    """
    from results.store import open_store

    load_plugins(plugin)
    # Opened for reading first, so that a wrong path does not create a store.
    opened = open_store(store)
    opened.cells()
    if panel is not None:
        require_known(PANEL, panel)
    # Before torch is imported.
    suite = choice.choose(scale=scale).suite
    from harness.judging import explaining, explaining_jobs, explaining_plan
    from harness.suites import Judging

    if not dry_run:
        opened = open_store(store, read_only=False)
        take_in_waiting(opened)
    jobs = []
    for part in stored_parts(suite, choice.suite, opened, store):
        before = part.suite.judging or Judging()
        if panel is None and before.panel == "proxy":
            raise UserError(
                "The suite's panel, a proxy of image encoders, cannot name concepts; add --panel openai or vllm."
            )
        # Judges and options belong to one kind of panel.
        settings = explaining_jobs.Explaining(
            panel=panel or before.panel,
            judges=judges_of(member) or (() if panel else before.judges),
            options={} if panel else before.options,
            units=units,
            images=images,
            seed=seed,
        )
        jobs.append((part.cell_ids, part.images, settings))
    if dry_run:
        rows = [row._asdict() for job in jobs for row in explaining_plan.plan_explaining(opened, *job)]
        return print_json(rows) if as_json else print_table(rows)
    folder = Path(store).expanduser().absolute().parent / "grids"
    with reporting(as_json) as reporter:
        results = [explaining.explain(opened, *job, folder=folder, reporter=reporter) for job in jobs]
    cells = [cell for result in results for cell in result.cells]
    n_asked, n_kept = sum(result.asked for result in results), sum(result.kept for result in results)
    if as_json:
        return print_json({"asked": n_asked, "stored": n_kept, "cells": [_as_json(cell) for cell in cells]})
    out("Balanced accuracy of the detections in %; chance is 50. Control: with the concept of another unit.")
    print_table([_row(cell) for cell in cells])
    for note in dict.fromkeys(note for cell in cells for note in cell.notes):
        out(note)
    out(f"{n_asked} questions asked, {n_kept} answered before. Results: {store}")


def _row(cell: ExplainedCell) -> dict[str, Any]:
    interval = cell.gap.interval() if cell.gap else None
    return {
        "layer": cell.contest,
        "method": cell.label,
        "token_seed": cell.token_seed,
        "units": cell.score.n if cell.score else 0,
        "score": _percent(cell.score.value) if cell.score else "",
        "se": _percent(cell.score.uncertainty) if cell.score else "",
        "control": _percent(cell.control.value) if cell.control else "",
        "score_minus_control": _percent(cell.gap.value) if cell.gap else "",
        "95_%_interval": f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else "",
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _as_json(cell: ExplainedCell) -> dict[str, Any]:
    """Return a cell's scores as fractions."""
    means = {name: _mean(getattr(cell, name)) for name in ("score", "control", "gap")}
    return {**cell._asdict(), **means, "notes": list(cell.notes)}


def _mean(mean: JudgedMean | None) -> dict[str, Any] | None:
    return None if mean is None else {**mean._asdict(), "interval": mean.interval()}
