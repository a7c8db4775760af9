"""Summary of a run: how many cells it finished, kept and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class PartSummary(NamedTuple):
    """One part of a suite that was run."""

    suite: str
    description: str
    cell_ids: list[str]
    """of its boards; the cells of its sweep are not among them"""


class RunSummary(NamedTuple):
    """Outcome of a run."""

    run_id: str
    cell_ids: list[str]
    """all cells of the suite, those that were there before included"""
    finished: int
    failed: int
    kept: int
    """cells that an earlier run had finished"""
    broken_images: int
    interrupted: bool
    parts: Sequence[PartSummary] = ()
    """parts of the suite in the order they were run"""
    stopped: Sequence[str] = ()
    """one sentence per part that could not start"""


def together(summaries: Sequence[RunSummary]) -> RunSummary:
    """Add up several runs; the id is that of the last one."""
    return summaries[-1]._replace(
        cell_ids=list(dict.fromkeys(cell_id for summary in summaries for cell_id in summary.cell_ids)),
        finished=sum(summary.finished for summary in summaries),
        failed=sum(summary.failed for summary in summaries),
        kept=sum(summary.kept for summary in summaries),
        broken_images=max(summary.broken_images for summary in summaries),
        interrupted=any(summary.interrupted for summary in summaries),
    )
