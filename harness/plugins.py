"""Kinds of plugins, their registries, and loading of plugin files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import UserError
from methods.plugin_files import load_plugin_file
from methods.registry import Registry, registered_from

#: Kinds as named by `harness new` and `harness check`.
KINDS = ("method", "metric", "judge", "backbone", "dataset")


def registry_of(kind: str) -> Registry[Any]:
    """Return the registry of a kind of plugin."""
    if kind == "method":
        from methods import METHODS

        return METHODS
    if kind == "metric":
        from harness.metrics.base import METRICS

        return METRICS
    if kind == "judge":
        from judges.panel import PANELS

        return PANELS
    if kind == "backbone":
        from harness.backbones import BACKBONES

        return BACKBONES
    from harness.datasets import DATASETS

    return DATASETS


def load_plugin(file: Path) -> list[tuple[str, str]]:
    """Import a plugin file and return (kind, name) of everything it registers, also for kinds outside of `KINDS`.

    Raises:
        UserError: if the file is missing, raises, or registers nothing.
    """
    from harness.backbones import PREFIXES

    module = load_plugin_file(file)
    kinds = {registry_of(kind).kind: kind for kind in KINDS}
    registered = [(kinds.get(kind, kind), name) for kind, name in registered_from(module)]
    registered += [
        ("backbone prefix", name)
        for name, prefix in PREFIXES.items()
        if getattr(prefix.load, "__module__", "") == module
    ]
    if not registered:
        raise UserError(
            f"The plugin {str(file)!r} registers nothing: decorate a method's class with @methods.register, a metric's "
            "with @METRICS.register(); `harness new KIND FILE` writes a working one of each kind."
        )
    return registered
