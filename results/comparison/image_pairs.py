"""Images that are resampled together, for a difference of two shares of the same evaluation images.

Both methods are measured on the same images, so an image is one cluster of both sides in all pairs of seeds: images on
which the two methods agree do not add to the error of their difference (docs/comparing.md).

If few images differ, resampling underestimates the error: with four predictions that differ, all in favour of A, no
resample favours B, although McNemar's exact p is .125. So the variance of one more image that differs is added, as in
the adjusted Wald interval of Agresti and Min (2005) for paired proportions. It is not added where predictions are equal
on all images, measured or not: for a row against itself, and for two methods that claim to be lossless and have no
image that differs (a claim is not a measurement).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results.comparison.intervals import Block
from results.store.outcomes import ImageOutcome, outcomes

if TYPE_CHECKING:
    from results.store import Store

_Groups = Sequence[Sequence[Mapping[str, Any]]]


@dataclasses.dataclass
class ImagePairs:
    """Outcomes of the images of paired cells.

    Attributes:
        a: the cells of A, one list for each pair of seeds.
        b: the cells of B.
        itself: A and B are the same row.
    """

    store: Store
    a: _Groups
    b: _Groups
    itself: bool = False

    def blocks(
        self, metric: str, shared: Sequence[int], first: np.ndarray, second: np.ndarray
    ) -> tuple[list[Block], str]:
        """Return one block with a cluster per image, and its description.

        There is no block if the store does not have the outcomes of a cell, or they do not give its score.

        Args:
            shared: pairs of seeds.
            first: (T,) scores of A.
            second: (T,) scores of B.
        """
        ids = [cell["cell_id"] for groups in (self.a, self.b) for index in shared for cell in groups[index]]
        of_cell = outcomes(self.store, ids, metric)
        if len({len(outcome.counted) for outcome in of_cell.values()}) != 1:
            return [], ""
        slots: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        for sign, groups, expected in ((1, self.a, first), (-1, self.b, second)):
            for number, index in enumerate(shared):
                group = [of_cell.get(cell["cell_id"]) for cell in groups[index]]
                complete = [outcome for outcome in group if outcome is not None]
                if len(complete) < len(group) or not _agree(complete, float(expected[number])):
                    return [], ""
                positive = np.sum([outcome.positive for outcome in complete], axis=0)
                counted = np.sum([outcome.counted for outcome in complete], axis=0)
                slots.append((sign, number, positive, counted))
        used = np.any([counted > 0 for *_, counted in slots], axis=0)
        sums = np.stack([positive[used] for _, _, positive, _ in slots], axis=1).astype(np.float64)
        certainly_equal = self.itself or (self._lossless() and bool((sums == sums[:, :1]).all()))
        block = Block(
            sums,
            np.stack([counted[used] for *_, counted in slots], axis=1).astype(np.float64),
            np.array([sign for sign, *_ in slots]),
            np.array([number for _, number, *_ in slots]),
            0.0 if certainly_equal else 1 / max(int(used.sum()), 1),
        )
        return [block], f"{int(used.sum())} images paired"

    def _lossless(self) -> bool:
        """Return whether all cells claim to be lossless."""
        cells = [cell for groups in (self.a, self.b) for group in groups for cell in group]
        return all((cell.get("claims") or {}).get("lossless") for cell in cells)


def _agree(group: Sequence[ImageOutcome], expected: float) -> bool:
    """Return whether the shares of the cells have the mean that the scores have."""
    return math.isclose(float(np.mean([outcome.share for outcome in group])), expected, rel_tol=1e-9, abs_tol=1e-12)
