"""Clusters of units that are resampled together, for a difference of two means over units.

The resampled object is the sampling unit of the methods, never a row of `units`: a neuron with all its sub-units if
both methods split neurons, else each side's own neurons or units, over all pairs of seeds (docs/comparing.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results.comparison.intervals import Block
from results.comparison.unit_values import UNIT_VALUES, UnitValues

if TYPE_CHECKING:
    from results.store import Store

_Groups = Sequence[Sequence[Mapping[str, Any]]]
Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Names (n,), values (n,) and parent neurons (n,) of the units of one side in one pair of seeds; -1: no parent."""


class UnitReader:
    """Values of the units of cells; reads each cell once per metric."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._parts: dict[str, dict[str, Part | None]] = {}

    def of(self, metric: str, cell_ids: Iterable[str]) -> dict[str, Part]:
        """Return cell id -> names, values and parents of the units with a value, without cells that have none.

        Raises:
            StoreError: the store cannot be read.
        """
        read = self._parts.setdefault(metric, {})
        wanted = sorted(set(cell_ids))
        if missing := [cell_id for cell_id in wanted if cell_id not in read]:
            parts = unit_parts(self.store, missing, UNIT_VALUES[metric])
            read.update({cell_id: parts.get(cell_id) for cell_id in missing})
        return {cell_id: part for cell_id in wanted if (part := read[cell_id]) is not None}


@dataclasses.dataclass
class UnitClusters:
    """The unit rows of paired cells.

    Attributes:
        reader: their source.
        a: the cells of A, one list for each pair of seeds.
        b: the cells of B.
        itself: A and B are the same row.
        names: display names of A and B.
    """

    reader: UnitReader
    a: _Groups
    b: _Groups
    itself: bool
    names: tuple[str, str] = ("A", "B")

    def blocks(
        self, metric: str, shared: Sequence[int], first: np.ndarray, second: np.ndarray
    ) -> tuple[list[Block], str]:
        """Return the clusters that the metric averages, and their description; no block if it averages no units."""
        if metric not in UNIT_VALUES:
            return [], ""
        rows = self.reader.of(metric, (cell["cell_id"] for group in (*self.a, *self.b) for cell in group))
        sides = []
        for groups, expected in ((self.a, first), (self.b, second)):
            if any(cell["cell_id"] not in rows for index in shared for cell in groups[index]):
                return [], ""
            parts = [_stacked([rows[cell["cell_id"]] for cell in groups[index]]) for index in shared]
            if any(
                not len(part[1]) or not math.isclose(part[1].mean(), wanted, rel_tol=1e-5, abs_tol=1e-7)
                for part, wanted in zip(parts, expected, strict=True)
            ):
                return [], ""
            sides.append(parts)
        return blocks_of(sides[0], sides[1], self.itself, self.names)


def unit_parts(store: Store, cell_ids: Sequence[str], wanted: UnitValues) -> dict[str, Part]:
    """Return cell id -> names, values and parents of the units that have a value.

    Raises:
        StoreError: the store cannot be read.
    """
    columns = ", ".join(f'"{name}"::DOUBLE AS v{number}' for number, name in enumerate(wanted.columns))
    # A number per row instead of the id: a text per row takes longer than the rest of the query.
    frame = store.query(
        f"SELECT cell, unit, coalesce(parent, -1) AS parent, {columns} FROM units JOIN "
        "(SELECT unnest($1::VARCHAR[]) AS cell_id, unnest(range(len($1::VARCHAR[]))) AS cell) USING (cell_id) "
        f"{'WHERE alive' if wanted.alive_only else ''} ORDER BY cell, unit",
        [list(cell_ids)],
    )
    units, parents = (frame[name].to_numpy(np.int64) for name in ("unit", "parent"))
    sources = [frame[f"v{number}"].to_numpy(np.float64, na_value=np.nan) for number in range(len(wanted.columns))]
    ends = np.searchsorted(frame["cell"].to_numpy(np.int64), np.arange(len(cell_ids) + 1))
    parts: dict[str, Part] = {}
    for cell_id, start, end in zip(cell_ids, ends[:-1], ends[1:], strict=True):
        of_cell = slice(start, end)
        # By cell, because some values depend on the mean over its units.
        values = wanted.values(*(source[of_cell] for source in sources))
        used = np.isfinite(values)
        if used.any():
            parts[cell_id] = (units[of_cell][used], values[used], parents[of_cell][used])
    return parts


def _stacked(parts: Sequence[Part]) -> Part:
    """Return units (n,), values (n,) and parents (n,) of several init seeds together.

    Each cell has the same weight in the score, so for cells with different numbers of units the score is not a mean
    over the pooled units.
    """
    units, values, parents = zip(*parts, strict=True)
    shifted = [names + 10**9 * number for number, names in enumerate(units)]
    return np.concatenate(shifted), np.concatenate(values), np.concatenate(parents)


def blocks_of(
    a: Sequence[Part], b: Sequence[Part], itself: bool, names: tuple[str, str] = ("A", "B")
) -> tuple[list[Block], str]:
    """Return the clusters that are resampled together, and their description.

    Args:
        a: units of A, one entry for each pair of seeds.
        b: units of B.
        itself: A and B are the same row, whose units are compared with themselves.
        names: display names of A and B.
    """
    n_seeds = len(a)
    if itself:
        return [_block([(1, t, a[t][0], a[t][1]), (-1, t, b[t][0], b[t][1])]) for t in range(n_seeds)], "units paired"
    parented = [all((part[2] >= 0).all() for part in side) for side in (a, b)]
    slots = [
        [(sign, t, part[2] if has_parents else part[0], part[1]) for t, part in enumerate(side)]
        for sign, side, has_parents in ((1, a, parented[0]), (-1, b, parented[1]))
    ]
    if all(parented):
        block = _block(slots[0] + slots[1])
        return [block], f"units clustered by their {len(block.sums)} neurons, which both share"
    blocks: list[Block] = []
    words: dict[str, str] = {}
    for name, side_slots, has_parents in zip(names, slots, parented, strict=True):
        # Neurons are the same in every pair of seeds, and so, approximately, are units that start from the same
        # initialisation: units of the same index are resampled together. If they are not alike, nothing is lost.
        blocks.append(_block(side_slots))
        words[name] = f"{len(blocks[-1].sums)} {'neurons' if has_parents else 'units'} of {name}"
    return blocks, f"{' and '.join(words[name] for name in sorted(words))} resampled separately"


def _block(slots: Sequence[tuple[int, int, np.ndarray, np.ndarray]]) -> Block:
    """Return clusters of slots (side, pair of seeds, cluster of each unit (n,), value of each unit (n,))."""
    names = np.unique(np.concatenate([clusters for _, _, clusters, _ in slots]))
    sums, counts = np.zeros((len(names), len(slots))), np.zeros((len(names), len(slots)))
    for slot, (_, _, clusters, values) in enumerate(slots):
        code = np.searchsorted(names, clusters)
        sums[:, slot] = np.bincount(code, weights=values, minlength=len(names))
        counts[:, slot] = np.bincount(code, minlength=len(names))
    return Block(sums, counts, np.array([slot[0] for slot in slots]), np.array([slot[1] for slot in slots]))
