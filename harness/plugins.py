"""The five kinds of thing that plug in, and loading a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import UserError
from methods.registry import Registry, load_plugin_file, registered_from

#: As `harness new` and `harness check` call them.
KINDS = ("method", "metric", "judge", "backbone", "dataset")


def registry_of(kind: str) -> Registry[Any]:
    """Where things of a kind are registered."""
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
    """Import a plugin file: (kind, name) of everything it registers, kinds outside of `KINDS` included.

    Raises:
        UserError: if the file is missing, raises, or registers nothing.
    """
    from harness.backbones import PREFIXES

    module = load_plugin_file(file)
    kinds = {registry_of(kind).kind: kind for kind in KINDS}
    found = [(kinds.get(kind, kind), name) for kind, name in registered_from(module)]
    found += [
        ("backbone prefix", name)
        for name, prefix in PREFIXES.items()
        if getattr(prefix.load, "__module__", "") == module
    ]
    if not found:
        raise UserError(
            f"The plugin {str(file)!r} registers nothing: decorate a method's class with @methods.register, a metric's "
            "with @METRICS.register(); `harness new KIND FILE` writes a working one of each kind."
        )
    return found
