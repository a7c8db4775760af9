"""Results in one DuckDB file, read and ranked without torch.

>>> from results import leaderboard, open_store
>>> boards = leaderboard(open_store("outputs/results.duckdb"))          # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.boards.board import board_frame
    from results.comparison.compare import compare
    from results.comparison.leaderboard import leaderboard
    from results.errors import StoreError
    from results.pareto import pareto_front
    from results.store.records import CellRecord, RunRecord, ScoreRecord
    from results.store.store import Store, open_store

__all__ = [
    "CellRecord",
    "RunRecord",
    "ScoreRecord",
    "Store",
    "StoreError",
    "board_frame",
    "compare",
    "leaderboard",
    "open_store",
    "pareto_front",
]

_HOMES = {
    "CellRecord": "results.store.records",
    "RunRecord": "results.store.records",
    "ScoreRecord": "results.store.records",
    "Store": "results.store.store",
    "StoreError": "results.errors",
    "board_frame": "results.boards.board",
    "compare": "results.comparison.compare",
    "leaderboard": "results.comparison.leaderboard",
    "open_store": "results.store.store",
    "pareto_front": "results.pareto",
}


def __getattr__(name: str) -> Any:
    # Importing DuckDB and pandas takes most of a second; `harness --help` needs neither.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
