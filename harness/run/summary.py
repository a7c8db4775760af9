"""Summary of a run: numbers of finished, failed and kept cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class PartSummary(NamedTuple):
    """Part of a suite that was run."""

    suite: str
    description: str
    cell_ids: list[str]
    """cells of the part, without those of its sweep"""


class RunSummary(NamedTuple):
    """Result of a run."""

    run_id: str
    cell_ids: list[str]
    """all cells of the suite, including those that were finished before"""
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
    elsewhere: int = 0
    """cells that other runs on the store computed meanwhile"""
    waiting: int = 0
    """results that could not be recorded, and wait beside the store"""


def combine_summaries(summaries: Sequence[RunSummary]) -> RunSummary:
    """Combine the summaries of several runs; the run id is that of the last one."""
    return summaries[-1]._replace(
        cell_ids=list(dict.fromkeys(cell_id for summary in summaries for cell_id in summary.cell_ids)),
        finished=sum(summary.finished for summary in summaries),
        failed=sum(summary.failed for summary in summaries),
        kept=sum(summary.kept for summary in summaries),
        broken_images=max(summary.broken_images for summary in summaries),
        elsewhere=sum(summary.elsewhere for summary in summaries),
        waiting=max(summary.waiting for summary in summaries),
        interrupted=any(summary.interrupted for summary in summaries),
    )
