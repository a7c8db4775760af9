"""``harness check``: check that a plugin keeps its contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import JsonOption, PluginOption, load_plugins, require_paths, verb
from harness.commands.output import out, out_short, print_json
from harness.errors import UserError
from methods.plugin_files import require_plugin_file
from methods.registry import did_you_mean
from results.duration_text import duration_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.check import CheckReport


@verb(
    "harness check my_method.py",
    "harness check my_sae.safetensors",
    "harness check topk_sae --backbone dinov2_small_saliency --site blocks.9.mlp.fc2",
)
def check(
    target: Annotated[
        str,
        typer.Argument(
            help="Python file of a plugin, weights of a trained dictionary (a file, a folder, or hf:USER/NAME/FOLDER), "
            "or name of a method, metric, panel, protocol, backbone or image set."
        ),
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of a method or judge panel: KEY=VALUE, e.g. epochs=1; repeatable."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Only this kind: method, metric, judge, protocol, backbone or dataset; default: all kinds. "
            "hf:USER/NAME is a trained dictionary with --kind method."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device on which a method is fitted and a backbone runs: cpu or cuda.")
    ] = "cpu",
    backbone: Annotated[
        str | None,
        typer.Option(help="Check a method at a layer of this backbone; default: a small layer with random weights."),
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Module path of that layer; default: the default layer of the backbone.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Images run through that backbone, e.g. folder:PATH; default: 60 photographs.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a plugin keeps its contract, on small inputs, in under a minute; each failure is explained.

    Method: shapes, dtype, determinism under a seed, empty batches, save and load, the dictionary, and its claims.
    Metric: any batch size, dead units, constant memory. Judge panel: one readable reply per question. Judging protocol:
    a version of its own, and a reader that never raises. Backbone: its default site has an effect on the output. Image
    set: the same images each time. Exit code 1 if a check fails.
    """
    from harness.devices import best_device, require_device_name

    settings = _settings(setting)
    require_device_name(device)
    if target.endswith(".py"):
        require_plugin_file(target)
    _require_text(backbone, "--backbone is empty: give a name of `harness list backbones`, or leave it out.")
    _require_text(site, "--site is empty: give a module path, or leave it out for the default of the backbone.")
    _require_text(dataset, "--dataset is empty: give an image set, e.g. folder:PATH, or leave it out.")
    if backbone is None and (site is not None or dataset is not None):
        option = f"--site {site}" if site is not None else f"--dataset {dataset}"
        raise UserError(f"{option} needs a backbone: give --backbone NAME (`harness list backbones`) as well.")
    require_paths(dataset, None)
    load_plugins(plugin)
    _require_known(target, kind, settings)
    from harness.check import LayerName, targets
    from harness.check import check as check_plugin

    chosen = best_device(device)
    layer = None
    if backbone is not None:
        layer = LayerName(backbone, site) if dataset is None else LayerName(backbone, site, dataset)
    reports = [check_plugin(wanted, settings, device=chosen, layer=layer) for wanted in targets(target, kind=kind)]
    if as_json:
        print_json(
            [{**report._asdict(), "findings": [finding._asdict() for finding in report.findings]} for report in reports]
        )
    else:
        for report in reports:
            _print(report, target)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


def _require_text(value: str | None, sentence: str) -> None:
    """Raise UserError with the sentence if an option was given without text, as by an unset variable of the shell."""
    if value is not None and not value.strip():
        raise UserError(sentence)


def _print(report: CheckReport, target: str) -> None:
    used = ", ".join(f"{key}={value}" for key, value in report.settings.items())
    how = [f"at {report.layer}"] * bool(report.layer) + [f"with {used}"] * bool(used)
    out_short(f"{report.kind} {report.name}, {report.source}" + (f", checked {', '.join(how)}" if how else ""))
    for finding in report.findings:
        word = "ok  " if finding.ok and finding.applies else "--  " if finding.ok else "FAIL"
        out_short(f"  {word}  {finding.check}" + (f": {finding.why}" if finding.why else ""))
    n_failed = sum(not finding.ok for finding in report.findings)
    n_all = len(report.findings)
    if n_failed:
        out(f"{n_failed} of {n_all} checks failed in {duration_text(report.seconds)}. Fix the first and check again.")
        return
    n_applied = sum(finding.applies for finding in report.findings)
    ending = f", {n_all - n_applied} do not apply." if n_applied < n_all else "."
    out(f"{n_applied} checks passed in {duration_text(report.seconds)}{ending}")
    if target.endswith(".py"):
        from harness.scaffold import next_steps

        for line in next_steps(report.kind, report.name, target):
            out(line)


def _require_known(target: str, kind: str | None, settings: Collection[str]) -> None:
    """Refuse an unknown name or setting before torch is imported, if the source of the harness shows all of them."""
    from harness.suites.dictionaries import is_weights
    from harness.suites.known_names import KINDS, METHOD, all_names, no_such_plugin
    from methods.source_settings import setting_names

    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind {kind} is unknown. {did_you_mean(kind, list(KINDS))}")
    if target.endswith(".py") or ":" in target or is_weights(target):
        return
    names: list[str] = []
    for wanted in KINDS if kind is None else (kind,):
        of_kind = all_names(KINDS[wanted])
        if of_kind is None:
            return
        names += of_kind
    if target not in names:
        raise no_such_plugin(target, kind, names)
    existing = setting_names(METHOD.package, target) if settings else None
    for name in settings:
        if existing is not None and name not in existing:
            raise UserError(f"{target} has no setting {name!r}. {did_you_mean(name, existing)}")


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set {pair}: write KEY=VALUE, e.g. --set epochs=1.")
        try:
            config[key] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or a number or nesting that Python does not read
            config[key] = text
    return config
