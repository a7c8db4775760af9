"""What a check gets, what it gives, and the list of all checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from results.store import Store

#: Sums of float32 values are compared with this much room.
TOLERANCE = 1e-5


class Problem(NamedTuple):
    """One row that cannot be right."""

    check: str
    where: str
    """which row: cell, run or tournament, in words"""
    why: str
    """what it says, and what it would have to say"""
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
        """The cell's score of a metric; None without one, and where several differ in version or parameters."""
        found = self.by_cell.get(cell["cell_id"], {}).get(metric, [])
        return found[0] if len(found) == 1 else None

    def value(self, cell: Mapping[str, Any], metric: str) -> float | None:
        """Its value; None also where it is undefined."""
        found = self.score(cell, metric)
        value = None if found is None else found["value"]
        return None if value is None or math.isnan(value) else float(value)


class Checker:
    """Collects what one check looks at and finds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.n = 0
        self.problems: list[Problem] = []

    def require(self, holds: bool, where: str, why: str, cell_id: str | None = None) -> None:
        """Count one look, and a problem unless ``holds``."""
        self.n += 1
        if not holds:
            self.problems.append(Problem(self.name, where, why, cell_id))


Check = Callable[[Content, Checker], None]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Decorator: add a check under a name."""

    def add(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return add
