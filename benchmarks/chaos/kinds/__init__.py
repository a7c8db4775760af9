"""Kinds of inputs: one file each, with ``cases(seed)`` and an ``ORDER`` in the table."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def kinds() -> dict[str, ModuleType]:
    """Return the modules of this package by name, in the order of the table."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return dict(sorted(modules.items(), key=lambda item: item[1].ORDER))
