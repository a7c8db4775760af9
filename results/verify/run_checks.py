"""Check of a store for impossible rows: identities that hold for every correct measurement.

A check finds nothing in a correct store, for any measurements. A finding is a defect of the harness, of a method's
claims, or of the file. The checks are in :mod:`results.verify`. Needs no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import results.verify as verify_package
from results.store.environments import CAUSES, WITH_TRAINING, WITHOUT_TRAINING
from results.store.records import grouped, records_of
from results.verify.base import CHECKS, Checker, Content, StoreProblem

if TYPE_CHECKING:
    from results.store import Store

__all__ = ["StoreProblem", "StoreVerdict", "check_names", "verify"]

for _module in pkgutil.iter_modules(verify_package.__path__):
    if _module.name not in ("base", "run_checks"):
        importlib.import_module(f"{verify_package.__name__}.{_module.name}")


class StoreVerdict(NamedTuple):
    """Numbers of checked rows, and the problems found."""

    problems: list[StoreProblem]
    checked: dict[str, int]
    """check -> number of rows it tested"""
    notes: list[str]
    """notes for the reader on unusual but possible values"""


def verify(store: Store) -> StoreVerdict:
    """Check every identity on every row of a store.

    Raises:
        StoreError: the store cannot be read.
    """
    cells = records_of(store.cells())
    scores = records_of(store.scores())
    by_cell = {
        cell_id: grouped(cell_scores, itemgetter("metric"))
        for cell_id, cell_scores in grouped(scores, itemgetter("cell_id")).items()
    }
    content = Content(cells, scores, by_cell, {cell["cell_id"]: _name(cell) for cell in cells}, store)
    problems: list[StoreProblem] = []
    checked: dict[str, int] = {}
    for name, function in CHECKS.items():
        checker = Checker(name, content.names)
        function(content, checker)
        problems += checker.problems
        checked[name] = checker.n
    return StoreVerdict(problems, checked, _environments(content.finished()))


def check_names() -> list[str]:
    """Return the names of all checks, in the order they run."""
    return list(CHECKS)


def _environments(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return notes on environments that differ between the cells of one layer, whose last digits are not comparable."""
    layers = grouped([cell for cell in cells if cell["environment"]], itemgetter("backbone", "site"))
    return [
        f"{backbone} {site}: cells were computed with more than one {cause} ({'; '.join(sorted(values))}). "
        f"Scores may differ for that reason alone by up to {WITHOUT_TRAINING:g}, of trained methods by up to "
        f"{WITH_TRAINING:g}."
        for (backbone, site), layer_cells in layers.items()
        for key, cause in CAUSES.items()
        if len(values := {str(cell["environment"].get(key)) for cell in layer_cells}) > 1
    ]


def _name(cell: Mapping[str, Any]) -> str:
    return (
        f"{cell['label']} at {cell['backbone']} {cell['site']} "
        f"(token seed {cell['token_seed']}, init seed {cell['init_seed']}, cell {cell['cell_id'][:8]})"
    )
