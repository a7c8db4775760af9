"""Rows of ``harness list``: registered methods, backbones, datasets, metrics, suites, panels and executors."""

from __future__ import annotations

import sys
from typing import Any

from harness.errors import UserError


def listing(what: str, *, backbone: str | None = None) -> list[dict[str, Any]]:
    """Return one dictionary per row of a list.

    Args:
        what: methods, backbones, datasets, metrics, suites, panels, executors or sites.
        backbone: backbone whose layers are listed; required for sites.

    Raises:
        UserError: if the list is unknown, or ``sites`` is requested without a backbone.
    """
    lists = {
        "methods": _methods,
        "backbones": _backbones,
        "datasets": _datasets,
        "metrics": _metrics,
        "suites": _suites,
        "panels": _panels,
        "executors": _executors,
    }
    if what == "sites":
        return _sites(backbone)
    if what not in lists:
        raise UserError(f"There is no list {what!r}. Available: {', '.join([*lists, 'sites'])}.")
    return lists[what]()


def _methods() -> list[dict[str, Any]]:
    from methods import METHODS

    rows: list[dict[str, Any]] = []
    for entry in METHODS:
        spec = entry.load().spec
        rows.append(
            {
                "name": spec.name,
                "title": spec.title,
                "family": spec.family,
                "reads": spec.reads,
                "training_free": spec.training_free,
                "lossless": spec.lossless,
                "supervised": spec.supervised,
                "source": entry.source,
            }
        )
    return rows + [_broken(plugin) for plugin in METHODS.broken.values()]


def _backbones() -> list[dict[str, Any]]:
    from harness import backbones

    rows = [row._asdict() for row in backbones.describe()]
    # One row per prefix: the set of networks behind a prefix is open-ended.
    open_ended = [
        backbones.BackboneRow(f"{name}:...", prefix.title, "", "its own", "see docs/backbones.md")._asdict()
        for name, prefix in backbones.PREFIXES.items()
    ]
    return rows + open_ended


def _datasets() -> list[dict[str, Any]]:
    from harness import datasets

    return [row._asdict() for row in datasets.describe()]


def _metrics() -> list[dict[str, Any]]:
    from harness.metrics import METRICS

    rows: list[dict[str, Any]] = []
    for entry in METRICS:
        metric = entry.load()
        rows.append(
            {
                "id": metric.id,
                "version": metric.version,
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.direction,
                "reference": metric.reference,
                "source": entry.source,
            }
        )
    return rows + [{**_broken(plugin), "id": plugin.name} for plugin in METRICS.broken.values()]


def _panels() -> list[dict[str, Any]]:
    from judges.panel import PANELS

    rows: list[dict[str, Any]] = []
    for entry in PANELS:
        module = sys.modules.get(getattr(entry.load(), "__module__", ""))
        doc_lines = (module.__doc__ or "").strip().splitlines() if module else []
        rows.append({"name": entry.name, "what": doc_lines[0] if doc_lines else "", "source": entry.source})
    return rows + [{**_broken(plugin), "what": f"BROKEN: {plugin.reason}"} for plugin in PANELS.broken.values()]


def _executors() -> list[dict[str, Any]]:
    from harness.executors import EXECUTORS

    rows: list[dict[str, Any]] = [
        {"name": entry.name, "what": entry.load().description, "source": entry.source} for entry in EXECUTORS
    ]
    return rows + [{**_broken(plugin), "what": f"BROKEN: {plugin.reason}"} for plugin in EXECUTORS.broken.values()]


def _suites() -> list[dict[str, Any]]:
    from harness.doctor import estimate
    from harness.suites import load_suite, suite_names

    rows = []
    for name in suite_names():
        suite = load_suite(name)
        cells = estimate(suite).cells
        rows.append({"name": name, "cells": cells, "description": suite.description})
    return rows


def _sites(backbone: str | None) -> list[dict[str, Any]]:
    from harness import backbones
    from harness.activations.site import Site, site_paths

    if backbone is None:
        raise UserError("The list of sites needs a backbone: harness list sites --backbone NAME.")
    # Random weights have the same layers and need no download.
    loaded = backbones.load(backbone, weights=False)
    rows = []
    for path in site_paths(loaded.model):
        site = Site(loaded.model, path)
        rows.append({"site": path, "d_in": site.d_in, "d_out": site.d_out, "default": path == loaded.default_site})
    return rows


def _broken(plugin: Any) -> dict[str, Any]:
    return {"name": plugin.name, "title": f"BROKEN: {plugin.reason}", "source": plugin.source}
