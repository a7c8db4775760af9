"""Division of one cell's fit into parts, which an executor computes as tasks of their own."""

from __future__ import annotations

import dataclasses

from harness.cells.divided_fit import DividedFit, PartFit, items_of
from harness.cells.plan import Cell
from harness.errors import first_line
from methods.interrupts import is_interrupt, raise_interrupt


@dataclasses.dataclass(eq=False)
class Division:
    """Parts of the fit of one cell."""

    parts: tuple[range, ...]
    """disjoint ranges of the items of the fit, which cover them"""
    resumed: bool
    """some items were there before, or a part was stopped: the time of the fit is not known"""
    results: dict[range, PartFit] = dataclasses.field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.parts)

    def fit(self) -> DividedFit:
        """Return the fit, all of whose parts are computed."""
        return DividedFit.of([self.results[part] for part in self.parts], resumed=self.resumed)

    def name_of(self, part: range) -> str:
        return f"part {self.parts.index(part) + 1} of {len(self.parts)}"


def ranges(n_items: int, n_parts: int) -> tuple[range, ...]:
    """Return disjoint ranges that cover n items: as many as asked for, but none empty, with sizes that differ by 1."""
    n_parts = max(1, min(n_parts, n_items))
    cuts = [n_items * number // n_parts for number in range(n_parts + 1)]
    return tuple(map(range, cuts[:-1], cuts[1:]))


def divisible_items(cell: Cell) -> tuple[int, str]:
    """Return the number of items into which a cell's fit divides, 1 if it does not, and the problem of a method.

    A plugin that cannot tell is fitted as a whole; the problem is a sentence for the user, usually empty.
    """
    try:
        return items_of(cell), ""
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        return 1, f"The fit of {cell.label} is not divided: {first_line(error)}"
