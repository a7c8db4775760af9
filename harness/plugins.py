"""Kinds of plugins, their registries, and loading of plugin files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.backbones import BACKBONES, PREFIXES
from harness.datasets import DATASETS
from harness.errors import UserError
from harness.metrics.base import METRICS
from judges.panel import PANELS
from judges.prompt import PROTOCOLS
from methods import METHODS
from methods.plugin_files import load_plugin_file
from methods.registry import Registry, registered_from

#: Registry of each kind of plugin, as named by `harness new` and `harness check`.
_REGISTRIES: dict[str, Registry[Any]] = {
    "method": METHODS,
    "metric": METRICS,
    "judge": PANELS,
    "protocol": PROTOCOLS,
    "backbone": BACKBONES,
    "dataset": DATASETS,
}
KINDS = tuple(_REGISTRIES)


def registry_of(kind: str) -> Registry[Any]:
    """Return the registry of a kind of plugin."""
    return _REGISTRIES[kind]


def load_plugin(file: Path) -> list[tuple[str, str]]:
    """Import a plugin file and return (kind, name) of everything it registers, also for kinds outside of `KINDS`.

    Raises:
        UserError: if the file is missing, raises, or registers nothing.
    """
    module = load_plugin_file(file)
    kinds = {registry.kind: kind for kind, registry in _REGISTRIES.items()}
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
