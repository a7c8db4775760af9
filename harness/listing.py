"""Rows of ``harness list``: methods, backbones, heads, datasets, metrics, suites, panels, protocols, and the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from harness.errors import UserError
from methods.plugin_calls import calling
from methods.registry import Registry


def listing(what: str, *, backbone: str | None = None) -> list[dict[str, Any]]:
    """Return one dictionary per row of a list.

    Args:
        what: methods, backbones, heads, datasets, metrics, suites, panels, protocols, executors, logs, scorers,
            alterations, sites.
        backbone: backbone whose layers are listed; required for sites.

    Raises:
        UserError: if the list is unknown, or ``sites`` is requested without a backbone.
    """
    lists = {"methods": _methods, "backbones": _backbones, "heads": _heads, "datasets": _datasets, "metrics": _metrics}
    lists |= {"suites": _suites, "panels": _panels, "protocols": _protocols, "executors": _executors, "logs": _logs}
    lists |= {"scorers": _scorers, "alterations": _alterations}
    if what == "sites":
        return _sites(backbone)
    if what not in lists:
        raise UserError(f"There is no list {what!r}. Available: {', '.join([*lists, 'sites'])}.")
    return lists[what]()


def _rows(
    registry: Registry[Any], describe: Callable[[Any], dict[str, Any]], *, name: str = "name", text: str = "title"
) -> list[dict[str, Any]]:
    """Return one row per entry and per broken plugin; ``name`` and ``text`` are the columns of its name and reason."""
    rows = []
    for entry in registry:
        try:
            with calling(registry, entry.name):
                rows.append({name: entry.name, **describe(entry.load()), "source": entry.source})
        except UserError as error:
            reason = f"BROKEN: {error}"
            rows.append({name: entry.name, "title": reason, "source": entry.source, text: reason})
    for plugin in registry.broken.values():
        reason = f"BROKEN: {plugin.reason}"
        row = {"name": plugin.name, "title": reason, "source": plugin.source, name: plugin.name, text: reason}
        rows.append(row)
    return rows


def _methods() -> list[dict[str, Any]]:
    from methods import METHODS

    columns = ("title", "family", "reads", "training_free", "lossless", "supervised")

    def describe(method: Any) -> dict[str, Any]:
        values = {column: getattr(method.spec, column) for column in columns}
        return {**values, "control_for": ", ".join(method.spec.control_for)}

    return _rows(METHODS, describe)


def _backbones() -> list[dict[str, Any]]:
    from harness import backbones

    rows = [row._asdict() for row in backbones.describe()]
    # One row per prefix: the set of networks behind a prefix is open-ended.
    open_ended = [
        backbones.BackboneRow(f"{name}:...", prefix.title, "", "its own", "see docs/backbones.md")._asdict()
        for name, prefix in backbones.PREFIXES.items()
    ]
    return rows + open_ended


def _heads() -> list[dict[str, Any]]:
    from harness.activations.heads import HEADS

    return _rows(HEADS, lambda head: {"what": head.description}, text="what")


def _datasets() -> list[dict[str, Any]]:
    from harness import datasets

    return [row._asdict() for row in datasets.describe()]


def _metrics() -> list[dict[str, Any]]:
    from harness.metrics import METRICS

    columns = {"version": "version", "title": "title", "unit": "unit", "better": "direction", "reference": "reference"}
    return _rows(
        METRICS, lambda metric: {column: getattr(metric, attribute) for column, attribute in columns.items()}, name="id"
    )


def _panels() -> list[dict[str, Any]]:
    from judges.panel import PANELS

    def describe(panel: Any) -> dict[str, str]:
        module = sys.modules.get(getattr(panel, "__module__", ""))
        doc = (module.__doc__ or "").strip() if module else ""
        return {"what": doc.partition("\n")[0]}

    return _rows(PANELS, describe, text="what")


def _protocols() -> list[dict[str, Any]]:
    from judges.prompt import PROTOCOLS

    rows = _rows(PROTOCOLS, lambda protocol: {"version": protocol("plain").version}, text="what")
    return [{**row, "what": row.get("what") or PROTOCOLS.entries[row["name"]].description} for row in rows]


def _executors() -> list[dict[str, Any]]:
    from harness.executors import EXECUTORS

    return _rows(EXECUTORS, lambda executor: {"what": executor.description}, text="what")


def _logs() -> list[dict[str, Any]]:
    from harness.training_logs import TRAINING_LOGS

    return _rows(TRAINING_LOGS, lambda logger: {"what": logger.description}, text="what")


def _scorers() -> list[dict[str, Any]]:
    from harness.steering.scorers import SCORERS

    return _rows(SCORERS, lambda scorer: {"version": scorer.version, "what": scorer.description}, text="what")


def _alterations() -> list[dict[str, Any]]:
    from harness.alterations import ALTERATIONS

    columns = ("title", "version", "severities")

    def describe(alteration: Any) -> dict[str, Any]:
        values = {column: getattr(alteration, column) for column in columns}
        return {**values, "severities": ", ".join(map(str, values["severities"]))}

    return _rows(ALTERATIONS, describe)


def _suites() -> list[dict[str, Any]]:
    from harness.doctor import estimate
    from harness.suites import load_suite, suite_names

    suites = {name: load_suite(name) for name in suite_names()}
    return [
        {"name": name, "cells": estimate(suite).cells, "description": suite.description}
        for name, suite in suites.items()
    ]


def _sites(backbone: str | None) -> list[dict[str, Any]]:
    from harness import backbones
    from harness.activations.sites import all_sites

    if backbone is None:
        raise UserError("The list of sites needs a backbone: harness list sites --backbone NAME.")
    # Random weights have the same layers and need no download.
    loaded = backbones.build(backbone, weights=False)
    return [
        {
            "site": site.path,
            "kind": site.kind,
            "d_in": site.d_in,
            "d_out": site.d_out,
            "default": site.path == loaded.default_site,
        }
        for site in all_sites(loaded)
    ]
