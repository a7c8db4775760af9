"""Loading plugins in tests without leaving anything behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness.planted  # noqa: F401 - what it registers is no plugin's
from harness.plugins import KINDS, load_plugin, registry_of


@contextmanager
def clean_registries() -> Iterator[None]:
    """Forget what is registered within the context."""
    registries = [registry_of(kind) for kind in KINDS]
    for registry in registries:
        registry.discover()
    before = [(dict(registry.entries), dict(registry.broken)) for registry in registries]
    modules = set(sys.modules)
    try:
        yield
    finally:
        for registry, (entries, broken) in zip(registries, before, strict=True):
            registry.entries.clear()
            registry.entries.update(entries)
            registry.broken.clear()
            registry.broken.update(broken)
        for name in set(sys.modules) - modules:
            if name.startswith("harness_plugin_"):
                del sys.modules[name]


def loaded(path: Path, kind: str) -> list[str]:
    """Names of what a plugin file registers of a kind."""
    return [name for of, name in load_plugin(path) if of == kind]
