"""``harness sweep``: run the hyperparameter grids of the trained families and choose one configuration for each."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.commands.options import (
    MOST_PROCESSES,
    ComputeOptions,
    JsonOption,
    LayerOptions,
    PluginOption,
    load_plugins,
    verb,
)
from harness.commands.output import out, print_json, print_table, reporter_of


@verb("harness sweep --suite demo --family topk_sae --epochs 10")
def sweep(
    choice: LayerOptions,
    compute: ComputeOptions,
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Run only this family; repeatable; default: all.")
    ] = None,
    plugin: PluginOption = None,
    epochs: Annotated[
        int | None, typer.Option(help="Number of epochs of all families; default: the suite's.", min=1, max=100_000)
    ] = None,
    expansion_factor: Annotated[
        float | None,
        typer.Option(help="Expansion factor of all families; default: the suite's.", min=1e-6, max=100_000),
    ] = None,
    target_l0: Annotated[
        float,
        typer.Option(
            help="L0 (active units per token) near which the best R2 is chosen as well.", min=1, max=1_048_576
        ),
    ] = 20.0,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of processes that train side by side, with one thread each; 1: this process, with all its "
            "threads; default: one per core, 1 on a GPU.",
            min=1,
            max=MOST_PROCESSES,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train every configuration of the paper's grids (App. E.1) that is not stored yet, and choose one per family."""
    from harness.suites.grids import GRIDS, grid

    load_plugins(plugin)
    for name in family or ():
        grid(name)  # raises for a family without one
    suite = choice.choose().suite
    from harness.devices import default_workers
    from harness.run.sweep import sweep as run_sweep

    overrides = {"epochs": epochs, "expansion_factor": expansion_factor}
    result = run_sweep(
        suite,
        compute.store,
        families=tuple(family) if family else tuple(GRIDS),
        overrides={key: value for key, value in overrides.items() if value is not None},
        target_l0=target_l0,
        device=compute.device,
        cache=compute.cache,
        workers=workers if workers is not None else default_workers(compute.device),
        reporter=reporter_of(as_json),
    )
    if as_json:
        rows = [candidate._asdict() for candidate in result.candidates]
        print_json({**result.summary._asdict(), "candidates": rows, "charts": result.charts})
    else:
        print_table([_row(candidate) for candidate in result.candidates if candidate.chosen or candidate.at_target])
        for chart in result.charts:
            out(f"R2 against L0 of all configurations: {chart}")
    if result.summary.interrupted:
        raise typer.Exit(130)
    if result.summary.failed:
        raise typer.Exit(1)


def _row(candidate: Any) -> dict[str, Any]:
    picks = [word for word, flag in (("eq. 9", candidate.chosen), ("target L0", candidate.at_target)) if flag]
    return {
        "target": candidate.target,
        "family": candidate.family,
        "chosen by": " and ".join(picks),
        "R2 %": f"{100 * candidate.r2:.1f}",
        "L0": f"{candidate.l0:.1f}",
        "score": f"{candidate.score:.3f}",
        "settings": ", ".join(f"{key}={value:g}" for key, value in candidate.config.items()),
    }
