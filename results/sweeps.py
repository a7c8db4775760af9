"""The cells of a sweep: trials that a configuration was chosen among, and no rows of a board. Standard library only.

A sweep measures what the choice needs and no more. Beside the cells of the chosen configuration its cells would be rows
of dashes, and the chosen one's own trial would count as one more seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_Cell = TypeVar("_Cell", bound=Mapping[str, Any])

SUFFIX = "-sweep"
"""What the suite of a sweep's cells ends with."""


def without_sweeps(cells: Sequence[_Cell]) -> tuple[list[_Cell], list[str]]:
    """Return the cells of one board that are of no sweep, and a note on those left out; all where there are no others.

    Args:
        cells: rows of `Store.cells()`.
    """
    kept = [cell for cell in cells if not str(cell["suite"] or "").endswith(SUFFIX)]
    if not kept or len(kept) == len(cells):
        return list(cells), []
    suites = sorted({str(cell["suite"]) for cell in cells if str(cell["suite"] or "").endswith(SUFFIX)})
    count = len(cells) - len(kept)
    return kept, [
        f"{count} cell{'s' if count > 1 else ''} of sweeps {'are' if count > 1 else 'is'} left out; "
        f"they are the boards of the suite {' and of '.join(suites)}."
    ]
