"""Mark of rehearsals: cells of synthetic images and random weights, which are timings and never results."""

from __future__ import annotations

from pathlib import Path

from results.errors import StoreError

#: Name of the image set of all cells of a rehearsal, and of no others.
DATASET = "synthetic"


def refusal(store: Path) -> StoreError:
    """Return the error of a verb that reads results from the store of a rehearsal."""
    return StoreError(
        f"{str(store)!r} is the store of a rehearsal (random weights, synthetic images): its figures are no results. "
        "Read the times in rehearsal.json beside it, or use the store of a run without --scale rehearsal."
    )
