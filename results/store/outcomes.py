"""ImageOutcome of each evaluation image, for metrics that are shares of images; one bit per image in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from results.store.store import Store


class ImageOutcome(NamedTuple):
    """ImageOutcome of each image of an evaluation split, in the split's order."""

    counted: np.ndarray
    """(n,) bool: the images that count (readable and, for accuracy, labelled)"""
    positive: np.ndarray
    """(n,) bool: the counted images that are right, or unchanged"""

    @property
    def share(self) -> float:
        """Share of the counted images that are positive; NaN if none counts."""
        return float(self.positive.sum() / self.counted.sum()) if self.counted.any() else float("nan")

    def packed(self) -> dict[str, Any]:
        """Return the columns n, counted and positive of the table `outcomes`."""
        bits = {name: np.packbits(values).tobytes() for name, values in self._asdict().items()}
        return {"n": len(self.counted), **bits}

    @classmethod
    def unpacked(cls, n: Any, counted: Any, positive: Any) -> ImageOutcome | None:
        """Return the outcome of columns of the table `outcomes`; None if they do not fit together.

        The values may be of any type: the store of somebody else may hold anything in these columns.
        """
        is_typed = isinstance(n, (int, np.integer)) and all(
            isinstance(side, (bytes, bytearray)) for side in (counted, positive)
        )
        if not is_typed or n < 0 or any(len(side) != (n + 7) // 8 for side in (counted, positive)):
            return None
        sides = [np.frombuffer(side, np.uint8) for side in (counted, positive)]
        counts, positives = (np.unpackbits(side, count=n).astype(bool) for side in sides)
        return cls(counts, positives & counts)


def outcomes(store: Store, cell_ids: Sequence[str], metric: str) -> dict[str, ImageOutcome]:
    """Return cell id -> outcome of the images for a metric, without the cells that have none.

    Raises:
        StoreError: the store cannot be read.
    """
    frame = store.query(
        "SELECT cell_id, n, counted, positive FROM outcomes "
        "WHERE metric = ? AND cell_id IN (SELECT unnest(?::VARCHAR[]))",
        [metric, list(cell_ids)],
    )
    rows = frame[["cell_id", "n", "counted", "positive"]].itertuples(index=False)
    unpacked = {str(cell_id): ImageOutcome.unpacked(n, counted, positive) for cell_id, n, counted, positive in rows}
    return {cell_id: outcome for cell_id, outcome in unpacked.items() if outcome is not None}
