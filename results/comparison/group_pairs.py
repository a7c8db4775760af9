"""Groups of images that are resampled together, for a difference of two scores with jackknife values by group.

A score such as R2 is not a mean over images, but its jackknife leaves out the same groups of images for every method.
With θ the score and θ_g the score without group g of G, the influence of group g is (G − 1)(mean of θ_g − θ_g): the
squares of these influences, divided by G(G − 1), add up to the jackknife variance. θ plus its influence is the value of
a group, so the mean over groups is the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from results.boards.board import LARGEST
from results.comparison.intervals import Block

#: Entry of a score's details: score without each group of images, in the order of the groups.
WITHOUT_GROUP = "without_group"


def group_blocks(
    a: Mapping[int, Sequence[Mapping[str, Any]]], b: Mapping[int, Sequence[Mapping[str, Any]]], shared: Sequence[int]
) -> tuple[list[Block], str]:
    """Return one block with a cluster per group of images, and its description; no block if a score has no groups.

    Args:
        a: pair of seeds -> scores of A's cells.
        b: the same of B.
        shared: pairs of seeds of both.
    """
    slots: list[np.ndarray] = []
    sides: list[int] = []
    for sign, scores in ((1, a), (-1, b)):
        for index in shared:
            values = [group_values(score) for score in scores[index]]
            if any(value is None for value in values):
                return [], ""
            slots.append(np.mean([value for value in values if value is not None], axis=0))
            sides.append(sign)
    if len({len(slot) for slot in slots}) != 1:
        return [], ""
    sums = np.stack(slots, axis=1)
    block = Block(sums, np.ones_like(sums), np.array(sides), np.tile(np.arange(len(shared)), 2))
    return [block], f"{len(sums)} groups of images paired"


def group_values(score: Mapping[str, Any]) -> np.ndarray | None:
    """Return the value of each group of images (G,), whose mean is the score; None if the score has no groups."""
    listed = (score["details"] or {}).get(WITHOUT_GROUP)
    if not isinstance(listed, list) or len(listed) < 2:
        return None
    # False for NaN. Integers of any length can be compared, but not converted.
    if not all(isinstance(value, (int, float)) and abs(value) <= LARGEST for value in listed):
        return None
    without = np.array(listed, dtype=np.float64)
    values: np.ndarray = float(score["value"]) + (len(without) - 1) * (without.mean() - without)
    return values
