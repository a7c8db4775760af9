"""Calls of registered plugins outside of a cell: planning, listing, loading of a saved fit.

Within :func:`calling` whatever a plugin raises becomes one sentence that names it, where it came from and what to do.
The exceptions of built-in components are raised unchanged: they are errors of this program.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from methods.plugin_errors import plugin_call
from methods.registry import Registry, is_built_in, registries_of


def calling(registry: Registry[Any], name: str) -> AbstractContextManager[None]:
    """Return a context in which code of the plugin registered under ``name`` may run.

    Raises (within the context):
        PluginError: for any exception other than a UserError and an interruption by the user.
    """
    entry = registry.entries.get(name)
    if entry is None or is_built_in(entry.target):
        return nullcontext()
    return plugin_call(f"The {registry.kind} {name!r} ({entry.source})", advice(registry.kind, entry.source))


def calling_object(kind: str, name: str, target: Any) -> AbstractContextManager[None]:
    """Return :func:`calling` for an object that may be registered under another name, or not at all."""
    if is_built_in(target):
        return nullcontext()
    for registry in registries_of(kind):
        if name in registry.entries:
            return calling(registry, name)
    return plugin_call(f"The {kind} {name!r}")


def advice(kind: str, source: str) -> str:
    """Return what to do about a plugin that fails, from its origin."""
    if source.startswith("plugin "):
        return f"`harness check {source.removeprefix('plugin ')}` explains it; correct the file or leave it out."
    return f"Correct or update it, or leave the {kind} out."
