"""``harness doctor``: what is here and what is not, and what a suite needs and takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    StoreOption,
    load_plugins,
    out,
    print_json,
)

if TYPE_CHECKING:
    from harness.doctor import Check, Estimate


def register(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: harness doctor --suite paper")(doctor)


def doctor(
    suite: Annotated[
        str | None, typer.Option("--suite", help="What this suite needs and takes; nothing is run.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Other images than the suite's, as of `harness run`.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="As of `harness run`.")] = None,
    scale: Annotated[str | None, typer.Option(help="As of `harness run`.")] = None,
    plugin: PluginOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: Annotated[Path | None, typer.Option(help="Where tokens are kept; default: cache/ beside the store.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check what is here (packages, weights, images, devices, disk) and say how to get what is not.

    With --suite: what that suite needs, what can run without the rest, and cells, disk, hours and judge calls.
    """
    from harness.doctor import examine, examine_suite, grouped
    from harness.suites.resolve import resolve_suite

    load_plugins(plugin)
    if suite is None:
        checks = examine(store)
        if as_json:
            print_json([check._asdict() for check in checks])
        else:
            _show(checks)
        if any(check.needed and not check.ok for check in checks):
            raise typer.Exit(1)
        return
    chosen = resolve_suite(suite, scale=scale, settings=setting or [], dataset=dataset).suite
    examined = examine_suite(chosen, store, device=device, cache=cache)
    if as_json:
        needs = [{**need.check._asdict(), "stops": need.stops} for need in examined.needs]
        print_json({"needs": needs, "estimate": examined.estimate._asdict(), "runs": examined.runs})
    else:
        _show(grouped(need.check for need in examined.needs))
        out("")
        for sentence in (*_figures(examined.estimate), *examined.runs):
            out(sentence)
    if any(need.stops != "nothing" and not need.check.ok for need in examined.needs):
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    for check in checks:
        out(f"{'ok  ' if check.ok else 'MISS' if check.needed else '--  '}  {check.what}: {check.found}")
        if not check.ok and check.remedy:
            out(f"        {check.remedy}")


def _figures(takes: Estimate) -> list[str]:
    """The estimate in sentences."""
    swept = f", and {takes.sweep_cells} of the sweeps before them" if takes.sweep_cells else ""
    lines = [f"{takes.cells} cells{swept}."]
    if takes.disk_bytes is not None:
        lines.append(f"Disk for tokens and baselines: {takes.disk_bytes / 2**30:.1f} GiB.")
    if takes.gpu_hours is not None:
        hours = takes.gpu_hours
        shown = f"{hours:.0f} hours" if hours >= 10 else f"{hours:.1f} hours" if hours >= 0.1 else "minutes"
        lines.append(f"One H100: about {shown}, judges apart (arithmetic, not measured; docs/reproduce.md).")
    if takes.judge_calls:
        lines.append(f"Judges: {takes.judge_calls:,} questions in all (after a run: harness judge --dry-run).")
    return [*lines, *takes.notes]
