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
    from harness.doctor.rates import Rate
    from harness.doctor.steps import Step
    from harness.suites import Suite


@verb("harness doctor --suite paper", "harness doctor --calibrate")
def doctor(
    compute: ComputeOptions,
    suite: Annotated[
        str | None, typer.Option(help="Suite whose requirements and cost are checked; default: only this machine.")
    ] = None,
    dataset: DatasetOption = None,
    setting: SettingOption = None,
    scale: ScaleOption = None,
    plugin: PluginOption = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="First measure the rates of this machine, for the estimate; default: use stored ones."
        ),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(help="Time of the calibration; a slow machine takes longer. Default: 60.", min=1, max=3600),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: packages, weights, images, devices and disk, and how to install what is missing.

    With --suite, check the requirements of that suite instead, and print the part that can run without the missing
    ones, and its cells, disk space, time per step and judge calls. Runs no cell. Exit code 1 if
    a requirement is missing.

    The time is computed from rates of an H200, until --calibrate has measured those of this machine; they are
    stored in the folder of the cache, and used by later calls. With --suite, its trained methods are measured.
    """
    from harness.suites.resolve import resolve_suite

    given = {"--dataset": dataset, "--set": setting, "--scale": scale}
    if suite is None and (without_use := [option for option, value in given.items() if value]):
        raise UserError(f"{without_use[0]} belongs to --suite: give the suite that it changes, e.g. --suite demo.")
    if seconds is not None and not calibrate:
        raise UserError("--seconds belongs to --calibrate: give both.")
    load_plugins(plugin)
    if suite is None and calibrate:
        measured = _calibrate(compute, None, seconds, is_quiet=as_json)
        if as_json:
            print_json({name: rate._asdict() for name, rate in measured.items()})
        return
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

    if calibrate:
        _calibrate(compute, chosen, seconds, is_quiet=as_json)
    examined = examine_suite(chosen, compute.store, device=compute.device, cache=compute.cache)
    if as_json:
        needs = [{**need.check._asdict(), "stops": need.stops} for need in examined.needs]
        estimate = examined.estimate._asdict()
        steps = [step._asdict() for step in examined.estimate.steps]
        print_json({"needs": needs, "estimate": {**estimate, "steps": steps}, "runs": examined.runs})
    else:
        _print(grouped(need.check for need in examined.needs))
        out("")
        _print_steps(examined.estimate)
        for sentence in (*_sentences(examined.estimate), *examined.runs):
            out_short(sentence)
    if any(need.stops != "nothing" and not need.check.ok for need in examined.needs):
        raise typer.Exit(1)


def _print(checks: list[Check]) -> None:
    for check in checks:
        out_short(f"{'ok  ' if check.ok else 'MISS' if check.needed else '--  '}  {check.what}: {check.found}")
        if not check.ok and check.remedy:
            out_short(f"        {check.remedy}")


def _calibrate(
    compute: ComputeOptions, suite: Suite | None, seconds: float | None, *, is_quiet: bool = False
) -> dict[str, Rate]:
    """Measure the rates of this machine, store them and print them."""
    from harness import devices
    from harness.doctor.calibration.file import file_of, prepare_folder, save
    from harness.doctor.calibration.measure import METHODS_MEASURED, calibrate, no_report
    from harness.doctor.rates import rate_text
    from harness.doctor.verdict import cache_folder
    from harness.doctor.workload import trained_methods

    cache = prepare_folder(cache_folder(compute.store, compute.cache))
    device = devices.best_device(compute.device)
    trained = METHODS_MEASURED if suite is None else trained_methods(suite)
    report = no_report if is_quiet else out_short
    rates = calibrate(cache, device=device, seconds=seconds or 60.0, trained=trained, report=report)
    save(cache, device, rates)
    if not is_quiet:
        rows = [
            [name, rate_text(rate), "" if rate.spread is None else f"{100 * rate.spread:.0f} %", rate.size]
            for name, rate in rates.items()
        ]
        _print_rows(["rate", "value", "spread", "measured at"], rows)
        out_short(f"Stored for {devices.device_name(device)} in {file_of(cache, device)}.")
    return rates


def _print_steps(estimate: SuiteEstimate) -> None:
    from harness.doctor.steps import STAGE_TITLES
    from results.duration_text import duration_text

    rows = [
        [STAGE_TITLES[step.stage], _step_text(step), duration_text(step.seconds), step.source]
        for step in estimate.steps
    ]
    if rows:
        _print_rows(["part", "step", "time", "rate"], rows)


def _step_text(step: Step) -> str:
    """Return the step, with the reference network whose rate counts for a forward pass."""
    network = step.rate.removeprefix("network ")
    return step.step if network == step.rate else f"{step.step} (rate of {network})"


def _print_rows(header: list[str], rows: list[list[str]]) -> None:
    from results.tables import aligned

    out("\n".join(aligned([header, *rows], [False] * len(header))))
    out("")


def _state_sentence(estimate: SuiteEstimate) -> str:
    if not estimate.state_bytes:
        return ""
    size = size_text(estimate.state_bytes)
    return f" {size} more for states before the layers are used if they are free, and the time below assumes them."


def _sentences(estimate: SuiteEstimate) -> list[str]:
    """Return the estimate as sentences."""
    from harness.doctor.estimate import hours_text
    from harness.doctor.rates import COMPOSED, COUNTED
    from results.duration_text import duration_text

    swept = f", and {estimate.sweep_cells} of the sweeps before them" if estimate.sweep_cells else ""
    lines = [f"{estimate.cells} cells{swept}."]
    if estimate.disk_bytes is not None:
        lines.append(f"Disk for tokens and baselines: {size_text(estimate.disk_bytes)}.{_state_sentence(estimate)}")
    if estimate.gpu_hours is not None:
        duration = hours_text(estimate.gpu_hours)
        if estimate.calibrated:
            duration = duration_text(3600 * estimate.gpu_hours)
        where = "This machine" if estimate.calibrated else "One H200"
        source = (
            "from rates measured here"
            if estimate.calibrated
            else "extrapolated from rates measured there, and assumed ones"
        )
        about = "" if duration == "minutes" else "about "
        lines.append(f"{where}: {about}{duration}, without judges ({source}; docs/reproduce.md).")
        changed = sum(step.seconds for step in estimate.steps if step.source in (COUNTED, COMPOSED))
        if changed >= 3600:
            lines.append(
                f"Of these, {hours_text(changed / 3600)} are of steps that have not run on a GPU since they changed."
            )
    if estimate.judge_calls:
        lines.append(f"Judges: {estimate.judge_calls:,} questions in all (after a run: harness judge --dry-run).")
    return [*lines, *estimate.notes]
