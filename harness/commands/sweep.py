"""``harness sweep``: the hyperparameter grids of the trained families, and the configuration chosen for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    StoreOption,
    load_plugins,
    out,
    print_json,
    print_table,
    reporter_of,
)


def register(app: typer.Typer) -> None:
    app.command("sweep", epilog="Example: harness sweep --suite demo --family topk_sae --epochs 10")(sweep)


def sweep(
    suite: Annotated[str, typer.Option("--suite", help="Whose backbones, layers and images.")] = "demo",
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Only these families; may be given several times.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Other images than the suite's, as of `harness run`.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Instead of the suite's, as of `harness run`.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Local weights, .safetensors or .pth.")] = None,
    site: Annotated[str | None, typer.Option(help="Module path of the layer, e.g. blocks.11.mlp.fc2.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="As of `harness run`.")] = None,
    plugin: PluginOption = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the suite's, for all families.", min=1)] = None,
    expansion_factor: Annotated[float | None, typer.Option(help="Instead of the suite's, for all families.")] = None,
    target_l0: Annotated[float, typer.Option(help="L0 of the alternative choice.", min=1)] = 20.0,
    store: StoreOption = DEFAULT_STORE,
    cache: Annotated[Path | None, typer.Option(help="Where tokens are kept; default: cache/ beside the store.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes of one thread each that train side by side; 1: this process with all its threads. "
            "Left out: one a core, 1 on a GPU.",
            min=1,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train every configuration of App. E.1 that the store does not hold yet, and choose one for each family."""
    from harness.devices import default_workers
    from harness.run.sweep import sweep as run_sweep
    from harness.suites.grids import GRIDS
    from harness.suites.resolve import resolve_suite

    load_plugins(plugin)
    chosen = resolve_suite(
        suite,
        settings=setting or [],
        dataset=dataset,
        backbone=backbone,
        checkpoint=None if checkpoint is None else str(checkpoint),
        site=site,
    ).suite
    given = {"epochs": epochs, "expansion_factor": expansion_factor}
    result = run_sweep(
        chosen,
        store,
        families=tuple(family) if family else tuple(GRIDS),
        overrides={key: value for key, value in given.items() if value is not None},
        target_l0=target_l0,
        device=device,
        cache=cache,
        workers=workers if workers is not None else default_workers(device),
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
