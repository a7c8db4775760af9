"""Results store: one DuckDB file, its schema, and the records written to it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.store.store import Store, open_store

__all__ = ["Store", "open_store"]


def __getattr__(name: str) -> Any:
    # Importing DuckDB and pandas takes most of a second, and much of this package needs neither.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("results.store.store"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
