"""``harness check``: does a plugin keep its contract?"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from harness.commands.options import JsonOption, PluginOption, load_plugins, out, print_json
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command("check", epilog="Example: harness check my_method.py; harness check folder:photos/by_class")(check)


def check(
    target: Annotated[
        str, typer.Argument(help="A plugin's Python file, or the name of a method, metric, panel, backbone, image set.")
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of a method or a judge panel, e.g. epochs=1; several times."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="method, metric, judge, backbone or dataset, where a name is several things.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where a method is fitted and a backbone runs: cpu, cuda.")] = "cpu",
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check what the harness relies on, on small inputs, in under a minute; each failure is explained.

    A method: shapes, dtype, determinism under a seed, empty batches, save and load, the dictionary, and whether its
    claims are true. A metric: any batch size, dead units, flat memory. A judge panel: one readable reply to each
    question. A backbone: its default site is felt. An image set: the same each time. Exit code 1 where a check fails.
    """
    from harness.check import check as check_one
    from harness.check import targets
    from harness.devices import best_device

    load_plugins(plugin)
    settings = _settings(setting)
    chosen = best_device(device)
    reports = [check_one(one, settings, device=chosen) for one in targets(target, kind=kind)]
    if as_json:
        rows = [{**one._asdict(), "findings": [found._asdict() for found in one.findings]} for one in reports]
        print_json(rows)
    else:
        for one in reports:
            _print(one, target)
    if not all(one.ok for one in reports):
        raise typer.Exit(1)


def _print(report: Any, target: str) -> None:
    used = ", ".join(f"{key}={value}" for key, value in report.settings.items())
    out(f"{report.kind} {report.name}, {report.source}" + (f", checked with {used}" if used else ""))
    for found in report.findings:
        word = "ok  " if found.ok and found.applies else "--  " if found.ok else "FAIL"
        out(f"  {word}  {found.check}" + (f": {found.why}" if found.why else ""))
    failed = sum(not found.ok for found in report.findings)
    many = len(report.findings)
    if failed:
        out(f"{failed} of {many} checks failed in {report.seconds:.1f} s. Mend the first and check again.")
    else:
        made = sum(found.applies for found in report.findings)
        out(
            f"{made} checks passed in {report.seconds:.1f} s"
            + (f", {many - made} do not apply." if made < many else ".")
        )
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
