"""Fit of one cell by several workers: each computes some of its items, and the cell joins them.

The parts are left in the cell's folder for resuming (:class:`methods.divisible.DivisibleFit`), so what was computed
before a part or the run was killed is not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from harness.activations.offers import granted
from harness.activations.token_set import TokenSet
from harness.cells.fit_cost import FIT_MEMORY, cost_of
from harness.cells.fit_evidence import observing, summed
from harness.cells.guards import guarded_method, seed_generators
from harness.cells.plan import Cell
from harness.errors import UserError
from methods import numerics
from methods.base import Device, Progress
from methods.divisible import DivisibleFit
from methods.interrupts import interrupting
from results import ScoreRecord


class PartFit(NamedTuple):
    """Computed part of a fit; its items are in files."""

    seconds: float
    evidence: tuple[ScoreRecord, ...]
    """evidence observed during the part, and its peak of memory"""
    files: tuple[str, ...]
    """names of the files in the cell's folder for resuming, after the part"""


class DividedFit(NamedTuple):
    """Fit whose parts are all computed, for the cell that joins them."""

    n_parts: int
    seconds: float | None
    """sum of the times of the parts; None if one of them was resumed after it was stopped"""
    evidence: tuple[ScoreRecord, ...]
    files: tuple[str, ...]

    @classmethod
    def of(cls, parts: Sequence[PartFit], *, resumed: bool) -> DividedFit:
        """Return the fit of at least one part."""
        evidence = parts[0].evidence
        for part in parts[1:]:
            evidence = joined(evidence, part.evidence)
        seconds = None if resumed else sum(part.seconds for part in parts)
        return cls(len(parts), seconds, evidence, tuple(sorted({name for part in parts for name in part.files})))

    def note(self) -> str:
        """Return the note of the cell."""
        return (
            f"The fit was divided into {self.n_parts} parts, computed by several workers: fit_seconds is the sum of "
            "their times, and the peak of memory is that of the largest."
        )


def items_of(cell: Cell) -> int:
    """Return the number of items into which the fit of a cell divides; 1 if it does not.

    Raises:
        UserError: if ``fit_items`` of the method returns no whole number.
    """
    method = cell.method
    # A fit that needs another one would have to make or load it once per part.
    if not issubclass(method, DivisibleFit) or cell.spec.fitted_elsewhere or cell.prerequisite() is not None:
        return 1
    items = method.fit_items(cell.config, cell.prepared.site)
    if isinstance(items, bool) or not isinstance(items, int):
        raise UserError(f"{method.spec.name}.fit_items returns {items!r}; it must be a whole number.")
    return max(1, items)


@numerics.threads()
def fit_part(
    cell: Cell, tokens: TokenSet, items: range, *, device: Device, progress: Progress, work_dir: Path
) -> PartFit:
    """Compute some items of the fit of a cell, and leave them in ``work_dir``.

    Raises:
        UserError: if the method reads files that have changed since the cell was planned.
    """

    @interrupting
    def tell(done: int, total: int, what: str) -> None:
        progress(done, total, what)

    method = cast(DivisibleFit, cell.method(cell.config))
    method.work_dir = work_dir
    cell.require_same_files()
    given = granted(tokens, cell.prepared.site, cell.offer, cell.offers, cell.spec.name)
    with guarded_method(f"{method.spec.name}.fit_part"), observing(given.tokens) as observation:
        seed_generators(cell.plan.seed, cell.init_seed)

        def fit() -> None:
            method.fit_part(observation.tokens, given.site, items, seed=cell.init_seed, device=device, progress=tell)

        cost = cost_of(fit, device)
    cell.require_same_files()
    evidence = observation.evidence()
    memory = cost.record(alone=evidence.alone)
    return PartFit(
        cost.seconds, evidence.records() if memory is None else (*evidence.records(), memory), complete_files(work_dir)
    )


def joined(evidence: Sequence[ScoreRecord], other: Sequence[ScoreRecord]) -> tuple[ScoreRecord, ...]:
    """Return the evidence of two parts of a fit: counts added, and the larger peak of memory, if both have one."""
    one, two = _memory(evidence), _memory(other)
    counts = summed(_counts(evidence), _counts(other))
    if one is None or two is None or one.value is None or two.value is None:
        return counts
    return (*counts, replace(one, value=max(one.value, two.value)))


def _memory(evidence: Sequence[ScoreRecord]) -> ScoreRecord | None:
    return next((record for record in evidence if record.metric == FIT_MEMORY), None)


def _counts(evidence: Sequence[ScoreRecord]) -> tuple[ScoreRecord, ...]:
    return tuple(record for record in evidence if record.metric != FIT_MEMORY)


def complete_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files in a folder that are not being written; none if it is not there."""
    try:
        return tuple(sorted(file.name for file in folder.iterdir() if not file.name.startswith(".")))
    except (FileNotFoundError, NotADirectoryError):
        # Another run may have finished the same fit, and removed its files.
        return ()
