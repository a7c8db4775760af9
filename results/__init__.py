"""Where results live: one DuckDB file, read and ranked without torch.

Public names: open_store, Store, StoreError, leaderboard, pareto_front; the records a run writes are CellRecord,
ScoreRecord and RunRecord.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not by __getattr__ below: the module of that name would hide the function as soon as anybody imports it.
from results.boards.build import leaderboard

if TYPE_CHECKING:
    from results.errors import StoreError
    from results.pareto import pareto_front
    from results.store import Store, open_store
    from results.store.records import CellRecord, RunRecord, ScoreRecord

__all__ = [
    "CellRecord",
    "RunRecord",
    "ScoreRecord",
    "Store",
    "StoreError",
    "leaderboard",
    "open_store",
    "pareto_front",
]

_HOMES = {
    "CellRecord": "results.store.records",
    "RunRecord": "results.store.records",
    "ScoreRecord": "results.store.records",
    "Store": "results.store",
    "StoreError": "results.errors",
    "open_store": "results.store",
    "pareto_front": "results.pareto",
}


def __getattr__(name: str) -> Any:
    # DuckDB and pandas take most of a second to import; `harness --help` needs neither.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
