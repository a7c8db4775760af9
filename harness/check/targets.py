"""Targets of ``harness check``: a file of plugins or a registered name, of any kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.cells.suitability import refusal
from harness.check.backbones import check_backbone
from harness.check.datasets import check_dataset
from harness.check.finding import PROCESS_SETTINGS, Finding, process_settings
from harness.check.judges import check_panel
from harness.check.layers import CheckLayer, LayerName, open_layer
from harness.check.methods import check_method, small_settings
from harness.check.metrics import check_metric
from harness.check.protocols import check_protocol
from harness.errors import UserError
from harness.plugins import KINDS, load_plugin, registry_of
from harness.suites import MethodEntry
from harness.suites.dictionaries import HUB, is_weights
from harness.suites.dictionaries import METHOD as DICTIONARY
from harness.suites.known_names import no_such_plugin
from methods.base import make_config
from methods.plugin_threads import unfinished_threads
from methods.registry import changed_by_import, did_you_mean

#: Seconds to wait for threads of the plugin at the end of its check.
_THREAD_PATIENCE_S = 1.0
_THREADS = (
    "Threads that the plugin starts still run after its calls ({}), and Python waits for them at the end of a run: "
    "join them before a call returns, or start them with daemon=True."
)


class CheckTarget(NamedTuple):
    """Plugin to check."""

    kind: str
    name: str
    identifier: str = ""
    """the part after the colon of an image set's or a backbone's spec"""

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.identifier}" if self.identifier else self.name


class CheckReport(NamedTuple):
    """Findings of one target."""

    kind: str
    name: str
    source: str
    """origin of the registration"""
    settings: dict[str, Any]
    """settings it was checked with that differ from its defaults"""
    seconds: float
    findings: list[Finding]
    layer: str = ""
    """real layer, tokens and images of a method's check; empty: small drawn ones"""

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


def targets(wanted: str, *, kind: str | None = None) -> list[CheckTarget]:
    """Return the plugins that a file registers, or the one that a name denotes.

    Args:
        wanted: ``FILE.py``, weights of a trained dictionary (a file or folder, also of the Hub), a registered name, or
            the spec of a backbone or an image set (``folder:PATH``).
        kind: restrict to this kind, e.g. if several kinds have the same name: ``hf:OWNER/NAME`` may be a trained
            dictionary (``method``), a backbone or an image set.

    Raises:
        UserError: for an unknown or ambiguous name, or a file that registers nothing to check.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind {kind} is unknown. {did_you_mean(kind, list(KINDS))}")
    kinds = KINDS if kind is None else (kind,)
    if wanted.endswith(".py"):
        registered = load_plugin(Path(wanted))
        checkable = [CheckTarget(of, name) for of, name in registered if of in kinds]
        if not checkable:
            names = ", ".join(f"the {of} {name!r}" for of, name in registered)
            raise UserError(f"{wanted} registers {names}, and no {kind or ', '.join(KINDS)} to check.")
        return checkable
    if (is_weights(wanted) or (kind == "method" and wanted.startswith(HUB))) and kind in (None, "method"):
        return [CheckTarget("method", DICTIONARY, wanted)]
    name, _, identifier = wanted.partition(":")
    matching = [of for of in kinds if _is_registered(of, name, identifier)]
    if len(matching) == 1:
        return [CheckTarget(matching[0], name, identifier)]
    if matching:
        raise UserError(f"{wanted!r} is a {' and a '.join(matching)}; choose one, e.g. with --kind {matching[0]}.")
    registries = [registry_of(of) for of in kinds]
    for registry in registries:
        if name in registry.broken:
            registry.get(name)  # raises, with the reason
    raise no_such_plugin(wanted, kind, [registered for registry in registries for registered in registry.names()])


def check(
    target: CheckTarget,
    settings: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
    layer: LayerName | None = None,
) -> CheckReport:
    """Check one plugin of any kind; a method is fitted, and a backbone run, on ``device``.

    Args:
        target: the plugin.
        settings: those of a method, or the options of a judge panel; the other kinds have none.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        layer: real layer at which a method is checked; default: a small one.

    Raises:
        UserError: if settings or a layer are given to a kind that has none, there is no such layer, or the method
            cannot be put there.
    """
    kind, name, identifier = target
    used = dict(settings or {})
    if used and kind not in ("method", "judge"):
        raise UserError(f"--set {next(iter(used))}: a {kind} has no settings; only methods and judge panels have.")
    if layer is not None and kind != "method":
        raise UserError(f"--backbone {layer.backbone}: a {kind} is not checked at a layer; only methods are.")
    started, title = time.perf_counter(), ""
    registry = registry_of(kind)
    plugin: Any = registry.get(name) if kind != "backbone" else None
    match kind:
        case "method":
            used |= {"weights": identifier} if identifier else {}
            make_config(plugin, used)
            used = {**small_settings(plugin, used), **used}
            at = None if layer is None else _layer(layer, name, used, device)
            title = "" if at is None else at.title
            findings = check_method(plugin, used, device=device, layer=at)
        case "metric":
            findings = check_metric(plugin)
        case "judge":
            findings = check_panel(name, plugin, used)
        case "protocol":
            findings = check_protocol(name, plugin)
        case "backbone":
            findings = check_backbone(target.spec, device=device)
        case _:
            findings = check_dataset(name, plugin, identifier)
    entry = registry.entries.get(name)
    if entry is not None and (at_import := changed_by_import.get(entry.module)):
        during = [finding for finding in findings if finding.check != PROCESS_SETTINGS]
        findings = [*during, process_settings(at_import, "The import of the plugin")]
    if left := unfinished_threads(_THREAD_PATIENCE_S):
        findings.append(Finding("threads", False, _THREADS.format(len(left))))
    source = entry.source if entry is not None else ""
    return CheckReport(kind, target.spec, source, used, time.perf_counter() - started, findings, title)


def _layer(wanted: LayerName, name: str, settings: Mapping[str, Any], device: str) -> CheckLayer:
    """Return the layer at which a method is checked.

    Raises:
        UserError: if there is no such layer, or the method cannot be put there.
    """
    opened = open_layer(wanted, device)
    if problem := refusal(MethodEntry(name=name, config=dict(settings)), opened):
        raise UserError(problem)
    return opened.collected()


def _is_registered(kind: str, name: str, identifier: str) -> bool:
    if kind == "backbone" and identifier:
        from harness.backbones import PREFIXES

        return name in PREFIXES
    if kind == "method" and f"{name}:" == HUB:
        return bool(identifier)  # weights of a trained dictionary
    if identifier and kind != "dataset":
        return False
    return name in registry_of(kind).names()
