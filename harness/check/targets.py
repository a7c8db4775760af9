"""Targets of ``harness check``: a file of plugins or a registered name, of any kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.check.finding import Finding
from harness.errors import UserError
from harness.plugins import KINDS, load_plugin, registry_of
from methods.registry import did_you_mean


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

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


def targets(wanted: str, *, kind: str | None = None) -> list[CheckTarget]:
    """Return the plugins that a file registers, or the one that a name denotes.

    Args:
        wanted: ``FILE.py``, a registered name, or the spec of a backbone or an image set (``folder:PATH``).
        kind: restrict to this kind, e.g. if several kinds have the same name.

    Raises:
        UserError: for an unknown or ambiguous name, or a file that registers nothing to check.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind {kind} is unknown. {did_you_mean(kind, list(KINDS))}")
    if wanted.endswith(".py"):
        registered = load_plugin(Path(wanted))
        checkable = [CheckTarget(of, name) for of, name in registered if of in KINDS and kind in (None, of)]
        if not checkable:
            names = ", ".join(f"the {of} {name!r}" for of, name in registered)
            raise UserError(f"{wanted} registers {names}, and no {kind or ', '.join(KINDS)} to check.")
        return checkable
    name, _, identifier = wanted.partition(":")
    matching = [of for of in KINDS if kind in (None, of) and _is_registered(of, name, identifier)]
    if len(matching) == 1:
        return [CheckTarget(matching[0], name, identifier)]
    if matching:
        raise UserError(f"{wanted!r} is a {' and a '.join(matching)}; choose one, e.g. with --kind {matching[0]}.")
    registered_names = sorted({name for of in KINDS if kind in (None, of) for name in registry_of(of).names()})
    for of in KINDS:
        if kind in (None, of) and name in registry_of(of).broken:
            registry_of(of).get(name)  # raises, with the reason
    suggestion = did_you_mean(name, registered_names).partition(" There are")[0]
    suggestion = f"{suggestion} " if suggestion.startswith("Did") else ""
    raise UserError(
        f"There is no {kind or 'method, metric, judge panel, backbone or image set'} {wanted!r}. {suggestion}"
        "`harness list methods` (metrics, panels, backbones, datasets) shows all names; the name of a file ends in .py."
    )


def check(target: CheckTarget, settings: Mapping[str, Any] | None = None, *, device: str = "cpu") -> CheckReport:
    """Check one plugin of any kind.

    Args:
        target: the plugin to check.
        settings: settings of a method, or options of a judge panel; the other kinds have none.
        device: device on which a method is fitted and a backbone runs.

    Raises:
        UserError: if settings are given to a kind that has none.
    """
    chosen = dict(settings or {})
    if chosen and target.kind not in ("method", "judge"):
        raise UserError(
            f"--set {next(iter(chosen))}: a {target.kind} has no settings; only methods and judge panels have."
        )
    started = time.perf_counter()
    used, findings = _CHECKERS[target.kind](target, chosen, device)
    source = ""
    registry = registry_of(target.kind)
    if target.name in registry.entries:
        source = registry.entries[target.name].source
    return CheckReport(target.kind, target.spec, source, used, time.perf_counter() - started, findings)


def _is_registered(kind: str, name: str, identifier: str) -> bool:
    if kind == "backbone" and identifier:
        from harness.backbones import PREFIXES

        return name in PREFIXES
    if identifier and kind != "dataset":
        return False
    return name in registry_of(kind).names()


def _method(target: CheckTarget, settings: dict[str, Any], device: str) -> tuple[dict[str, Any], list[Finding]]:
    from harness.check.methods import check_method, small_settings
    from methods.base import make_config

    cls = registry_of("method").get(target.name)
    make_config(cls, settings)
    used = {**small_settings(cls), **settings}
    return used, check_method(cls, used, device=device)


def _metric(target: CheckTarget, settings: dict[str, Any], device: str) -> tuple[dict[str, Any], list[Finding]]:
    from harness.check.metrics import check_metric

    return {}, check_metric(registry_of("metric").get(target.name))


def _judge(target: CheckTarget, settings: dict[str, Any], device: str) -> tuple[dict[str, Any], list[Finding]]:
    from harness.check.judges import check_panel

    return settings, check_panel(target.name, registry_of("judge").get(target.name), settings)


def _backbone(target: CheckTarget, settings: dict[str, Any], device: str) -> tuple[dict[str, Any], list[Finding]]:
    from harness.check.backbones import check_backbone

    return {}, check_backbone(target.spec, device=device)


def _dataset(target: CheckTarget, settings: dict[str, Any], device: str) -> tuple[dict[str, Any], list[Finding]]:
    from harness.check.datasets import check_dataset

    return {}, check_dataset(target.name, registry_of("dataset").get(target.name), target.identifier)


_CHECKERS = {"method": _method, "metric": _metric, "judge": _judge, "backbone": _backbone, "dataset": _dataset}
