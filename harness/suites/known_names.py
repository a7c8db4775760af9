"""Names of registered things, looked up in source code, so that a mistyped one is refused before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import NamedTuple

from harness.errors import UserError
from methods.plugin_files import plugin_files
from methods.registry import natural_key, nearest, registries_of, unknown_name
from methods.source_names import registered_names


class Kind(NamedTuple):
    """Kind of registered things."""

    name: str
    """as in the registry, e.g. ``method``"""
    package: str
    """package whose modules register the built-in ones"""
    group: str
    """entry points of installed packages"""


METHOD = Kind("method", "methods", "harness.methods")
METRIC = Kind("metric", "harness.metrics", "harness.metrics")
DATASET = Kind("dataset", "harness.datasets", "harness.datasets")
PANEL = Kind("judge panel", "judges.panels", "harness.judges")
PROTOCOL = Kind("judging protocol", "judges.protocols", "harness.protocols")
BACKBONE = Kind("backbone", "harness.backbones.models", "harness.backbones")
HEAD = Kind("head", "harness.activations.heads", "harness.heads")
#: Kinds of plugins, as named by ``harness new`` and ``harness check``.
KINDS = {
    "method": METHOD,
    "metric": METRIC,
    "judge": PANEL,
    "protocol": PROTOCOL,
    "backbone": BACKBONE,
    "dataset": DATASET,
}


def all_names(kind: Kind) -> list[str] | None:
    """Return all names of a kind, without importing what they denote; None if that is not possible.

    What plugins and installed packages register cannot be read from the source of the harness.
    """
    if kind is BACKBONE:
        # Registered in a loop, and imported without torch.
        from harness.backbones import BACKBONES

        return BACKBONES.names()
    built_in = registered_names(kind.package)
    if built_in is None or plugin_files() or entry_points(group=kind.group):
        return None
    registered = {entry for registry in registries_of(kind.name) for entry in (*registry.entries, *registry.broken)}
    return sorted({*built_in, *registered}, key=natural_key)


def no_such_plugin(wanted: str, kind: str | None, names: Iterable[str]) -> UserError:
    """Return the error of ``harness check`` for a name that is not among ``names``, those of one ``kind`` or of all."""
    return UserError(
        f"There is no {kind or 'method, metric, judge panel, judging protocol, backbone or image set'} {wanted!r}. "
        f"{nearest(wanted.partition(':')[0], sorted(set(names)))}"
        "`harness list methods` (metrics, panels, protocols, backbones, datasets) shows all names; the name of a file "
        "ends in .py."
    )


def require_known(kind: Kind, name: str) -> None:
    """Check that a name is registered, or may be if :func:`all_names` are not known; nothing is imported.

    Raises:
        UserError: if it is not, with the nearest names.
    """
    if name in (registered_names(kind.package) or ()):
        return  # most names: whether other packages are installed takes time to find out
    names = all_names(kind)
    if names is not None and name not in names:
        raise unknown_name(kind.name, name, names)
