"""Input and output of a check, and the registry of all checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from results.store import Store

#: Tolerance for comparing sums of float32 values.
TOLERANCE = 1e-5


class StoreProblem(NamedTuple):
    """Row with an impossible value."""

    check: str
    where: str
    """the row: cell, run or tournament, in words"""
    why: str
    """the value seen, and the value required"""
    cell_id: str | None = None


class Content(NamedTuple):
    """A store's cells and scores, read once for all checks."""

    cells: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    by_cell: dict[str, dict[str, list[dict[str, Any]]]]
    """cell_id -> metric -> its scores"""
    names: dict[str, str]
    """cell_id -> the cell in words"""
    store: Store

    def finished(self) -> list[dict[str, Any]]:
        return [cell for cell in self.cells if cell["status"] == "finished"]

    def score(self, cell: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
        """Return the cell's score of a metric; None if there is none, or several of different version or parameters."""
        scores = self.by_cell.get(cell["cell_id"], {}).get(metric, [])
        return scores[0] if len(scores) == 1 else None

    def value(self, cell: Mapping[str, Any], metric: str) -> float | None:
        """Return its value; None also if it is undefined."""
        score = self.score(cell, metric)
        value = None if score is None else score["value"]
        return None if value is None or math.isnan(value) else float(value)


class Checker:
    """Collector of the tests and problems of one check."""

    def __init__(self, name: str, cell_names: Mapping[str, str]) -> None:
        self.name = name
        self.cell_names = cell_names
        self.n = 0
        self.problems: list[StoreProblem] = []

    def require(self, holds: bool, where: str, why: str, cell_id: str | None = None) -> None:
        """Count one test, and record a problem unless ``holds``."""
        self.n += 1
        if not holds:
            self.problems.append(StoreProblem(self.name, where, why, cell_id))

    def require_of(self, cell_id: str, holds: bool, why: str, item: str = "") -> None:
        """Count one test of a cell, or of an item of it, such as a metric."""
        name = self.cell_names[cell_id]
        self.require(holds, f"{item} of {name}" if item else name, why, cell_id)


Check = Callable[[Content, Checker], None]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Register a check under a name (decorator)."""

    def add(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return add
