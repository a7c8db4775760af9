"""Division of the cells of a suite among runs that share a store, as executors see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.cells.plan import Cell, PreparedTarget


class Sharing:
    """Claims of a run that has the store to itself: it may compute everything.

    An executor asks before it computes a cell or the inputs of a target. One that does not ask computes cells that
    another run computes too; their results are equal, and are recorded once.
    """

    def claim(self, cell: Cell) -> bool:
        """Return whether this run computes the cell; call it once, just before. If not, yield no result for it."""
        return True

    def is_claimable(self, cell: Cell) -> bool:
        """Return whether a claim of the cell would succeed, as far as can be told without claiming it."""
        return True

    def claim_inputs(self, prepared: PreparedTarget) -> bool:
        """Return whether this run makes the inputs of a target now; if not, ask again later."""
        return True

    def release_inputs(self, prepared: PreparedTarget) -> None:
        """Report that the inputs of a target are in the cache, or cannot be made."""
