"""Selection of the cells of a row for its means over seeds. Needs only the standard library."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Seeds = tuple[int, int]
"""(token seed, init seed) of a cell; -1 if a method has no such seed, before seed 0 in any order"""


def seeds_of(cell: Mapping[str, Any]) -> Seeds:
    """Return the seeds of a row of `Store.cells()`."""
    token, init = (-1 if cell[name] is None else int(cell[name]) for name in ("token_seed", "init_seed"))
    return token, init


def averaged(cells: Collection[Seeds]) -> set[Seeds]:
    """Return the cells of a row that its means are over: all, unless some initialisations lack token sets.

    Repeated runs on one token set (for stability) beside runs on several token sets would count that set several
    times. In that case only initialisation seeds that were run on every token set are used.
    """
    tokens = {token for token, _ in cells}
    complete = {init for _, init in cells if all((token, init) in cells for token in tokens)}
    return {seeds for seeds in cells if seeds[1] in complete} if complete and len(tokens) > 1 else set(cells)


SUFFIX = "-sweep"
"""Suffix of the suite of a sweep's cells."""


def without_sweeps(cells: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the cells of one board outside sweeps, and a note on the omitted ones; all cells if there are no others.

    Args:
        cells: rows of `Store.cells()`.
    """
    suites = sorted({suite for cell in cells if (suite := str(cell["suite"] or "")).endswith(SUFFIX)})
    outside_sweeps = [cell for cell in cells if str(cell["suite"] or "") not in suites]
    if not outside_sweeps or not suites:
        return list(cells), []
    count = len(cells) - len(outside_sweeps)
    return outside_sweeps, [
        f"{count} cell{'s' if count > 1 else ''} of sweeps {'are' if count > 1 else 'is'} left out; "
        f"see the boards of the suite {' and of '.join(suites)}."
    ]
