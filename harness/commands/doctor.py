"""``harness doctor``: check this machine, and the requirements and cost of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    ComputeOptions,
    DatasetOption,
    JsonOption,
    PluginOption,
    ScaleOption,
    SettingOption,
    load_plugins,
    verb,
)
from harness.commands.output import out, out_short, print_json
from harness.errors import UserError
from results.byte_sizes import size_text

if TYPE_CHECKING:
    from harness.doctor import Check, SuiteEstimate


@verb("harness doctor --suite paper")
def doctor(
    compute: ComputeOptions,
    suite: Annotated[
        str | None, typer.Option(help="Suite whose requirements and cost are checked; default: only this machine.")
    ] = None,
    dataset: DatasetOption = None,
    setting: SettingOption = None,
    scale: ScaleOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: packages, weights, images, devices and disk, and how to install what is missing.

    With --suite, check the requirements of that suite instead, and print the part that can run without the missing
    ones, and its cells, disk space, hours and judge calls. Runs nothing. Exit code 1 if a requirement is missing.
    """
    from harness.suites.resolve import resolve_suite

    given = {"--dataset": dataset, "--set": setting, "--scale": scale}
    if suite is None and (without_use := [option for option, value in given.items() if value]):
        raise UserError(f"{without_use[0]} belongs to --suite: give the suite that it changes, e.g. --suite demo.")
    load_plugins(plugin)
    if suite is None:
        from harness.doctor import examine

        checks = examine(compute.store)
        if as_json:
            print_json([check._asdict() for check in checks])
        else:
            _print(checks)
        if any(check.needed and not check.ok for check in checks):
            raise typer.Exit(1)
        return
    chosen = resolve_suite(suite, scale=scale, settings=setting or [], dataset=dataset).suite
    from harness.doctor import examine_suite, grouped

    examined = examine_suite(chosen, compute.store, device=compute.device, cache=compute.cache)
    if as_json:
        needs = [{**need.check._asdict(), "stops": need.stops} for need in examined.needs]
        print_json({"needs": needs, "estimate": examined.estimate._asdict(), "runs": examined.runs})
    else:
        _print(grouped(need.check for need in examined.needs))
        out("")
        for sentence in (*_sentences(examined.estimate), *examined.runs):
            out_short(sentence)
    if any(need.stops != "nothing" and not need.check.ok for need in examined.needs):
        raise typer.Exit(1)


def _print(checks: list[Check]) -> None:
    for check in checks:
        out_short(f"{'ok  ' if check.ok else 'MISS' if check.needed else '--  '}  {check.what}: {check.found}")
        if not check.ok and check.remedy:
            out_short(f"        {check.remedy}")


def _sentences(estimate: SuiteEstimate) -> list[str]:
    """Return the estimate as sentences."""
    from harness.doctor.estimate import hours_text

    swept = f", and {estimate.sweep_cells} of the sweeps before them" if estimate.sweep_cells else ""
    lines = [f"{estimate.cells} cells{swept}."]
    if estimate.disk_bytes is not None:
        lines.append(f"Disk for tokens and baselines: {size_text(estimate.disk_bytes)}.")
    if estimate.gpu_hours is not None:
        duration = hours_text(estimate.gpu_hours)
        lines.append(f"One H100: about {duration}, without judges (arithmetic, not measured; docs/reproduce.md).")
    if estimate.judge_calls:
        lines.append(f"Judges: {estimate.judge_calls:,} questions in all (after a run: harness judge --dry-run).")
    return [*lines, *estimate.notes]
