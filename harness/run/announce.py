"""Sentences at the start of a run on what was read: images, preprocessing, heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.cells.plan import PreparedTarget
from harness.datasets.summary import describe
from harness.metrics.base import METRICS
from harness.progress import Reporter
from harness.suites import Suite


def announce(prepared: Sequence[PreparedTarget], reporter: Reporter) -> None:
    """Report the images, backbones and heads of a run, each sentence once in all parts of a suite."""
    for sentence in _sentences(prepared):
        reporter.say_once(sentence)


def _sentences(prepared: Sequence[PreparedTarget]) -> Iterator[str]:
    splits = {target.evaluation.fingerprint + target.probing.fingerprint: target.split for target in prepared}
    for split in splits.values():
        yield from describe(split)
    for target in prepared:
        backbone = target.backbone
        yield f"{backbone.name}: {backbone.preprocessing.describe()}."
        for note in backbone.notes:
            yield f"{backbone.name}: {note}"
        yield from target.head.notes()


def without_further_set(parts: Sequence[Suite]) -> Iterator[str]:
    """Yield a sentence on each metric of further image sets that the parts of a suite name without such a set."""
    if any(part.data.evaluation_set is not None for part in parts):
        return
    for name in dict.fromkeys(name for part in parts for name in part.evaluation.metrics or ()):
        if METRICS.get(name).needs_first_set:
            yield (
                f"{name} will not be measured: it compares two image sets, and this run has one. Name another with "
                "--set \"data.evaluation_sets=['folder:PATH']\"."
            )
