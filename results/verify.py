"""Which rows of a store are impossible: identities that hold for every correct measurement, checked on the numbers.

A check finds nothing in a right store, whatever was measured; what it finds is a defect of the harness, of a method's
claims, or of the file. The checks are in :mod:`results.checks`. Needs no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from results import checks
from results.checks.base import CHECKS, Checker, Content, Problem
from results.leaderboard import records_of

if TYPE_CHECKING:
    from results.store import Store

__all__ = ["Problem", "Verdict", "check_names", "verify"]

for _module in pkgutil.iter_modules(checks.__path__):
    importlib.import_module(f"{checks.__name__}.{_module.name}")


class Verdict(NamedTuple):
    """What was checked, and what cannot be right."""

    problems: list[Problem]
    checked: dict[str, int]
    """check -> how many rows it looked at"""


def verify(store: Store) -> Verdict:
    """Check every identity on every row of a store.

    Raises:
        StoreError: the store cannot be read.
    """
    cells = records_of(store.cells())
    scores = records_of(store.scores())
    by_cell: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for score in scores:
        by_cell.setdefault(score["cell_id"], {}).setdefault(score["metric"], []).append(score)
    content = Content(cells, scores, by_cell, {cell["cell_id"]: _name(cell) for cell in cells}, store)
    problems: list[Problem] = []
    checked: dict[str, int] = {}
    for name, function in CHECKS.items():
        checker = Checker(name)
        function(content, checker)
        problems += checker.problems
        checked[name] = checker.n
    return Verdict(problems, checked)


def check_names() -> list[str]:
    """Return the names of all checks, in the order they run."""
    return list(CHECKS)


def _name(cell: Mapping[str, Any]) -> str:
    return (
        f"{cell['label']} at {cell['backbone']} {cell['site']} "
        f"(token seed {cell['token_seed']}, init seed {cell['init_seed']}, cell {cell['cell_id'][:8]})"
    )
