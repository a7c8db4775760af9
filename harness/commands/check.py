"""``harness check``: check that a plugin keeps its contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import JsonOption, PluginOption, load_plugins, verb
from harness.commands.output import out, print_json
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.check import CheckReport


@verb("harness check my_method.py", "harness check folder:photos/by_class")
def check(
    target: Annotated[
        str, typer.Argument(help="Python file of a plugin, or name of a method, metric, panel, backbone or image set.")
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of a method or judge panel: KEY=VALUE, e.g. epochs=1; repeatable."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only this kind of plugin: method, metric, judge, backbone or dataset; default: all kinds."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device on which a method is fitted and a backbone runs: cpu or cuda.")
    ] = "cpu",
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a plugin keeps its contract, on small inputs, in under a minute; each failure is explained.

    Method: shapes, dtype, determinism under a seed, empty batches, save and load, the dictionary, and its claims.
    Metric: any batch size, dead units, constant memory. Judge panel: one readable reply per question. Backbone: its
    default site has an effect on the output. Image set: the same images each time. Exit code 1 if a check fails.
    """
    from harness.check import check as check_plugin
    from harness.check import targets
    from harness.devices import best_device

    load_plugins(plugin)
    settings = _settings(setting)
    chosen = best_device(device)
    reports = [check_plugin(wanted, settings, device=chosen) for wanted in targets(target, kind=kind)]
    if as_json:
        print_json(
            [{**report._asdict(), "findings": [finding._asdict() for finding in report.findings]} for report in reports]
        )
    else:
        for report in reports:
            _print(report, target)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


def _print(report: CheckReport, target: str) -> None:
    used = ", ".join(f"{key}={value}" for key, value in report.settings.items())
    out(f"{report.kind} {report.name}, {report.source}" + (f", checked with {used}" if used else ""))
    for finding in report.findings:
        word = "ok  " if finding.ok and finding.applies else "--  " if finding.ok else "FAIL"
        out(f"  {word}  {finding.check}" + (f": {finding.why}" if finding.why else ""))
    n_failed = sum(not finding.ok for finding in report.findings)
    n_all = len(report.findings)
    if n_failed:
        out(f"{n_failed} of {n_all} checks failed in {report.seconds:.1f} s. Fix the first and check again.")
        return
    n_applied = sum(finding.applies for finding in report.findings)
    ending = f", {n_all - n_applied} do not apply." if n_applied < n_all else "."
    out(f"{n_applied} checks passed in {report.seconds:.1f} s{ending}")
    if target.endswith(".py"):
        from harness.scaffold import next_steps

        for line in next_steps(report.kind, report.name, target):
            out(line)


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set {pair}: write KEY=VALUE, e.g. --set epochs=1.")
        try:
            config[key] = json.loads(text)
        except json.JSONDecodeError:
            config[key] = text
    return config
