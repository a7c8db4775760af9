"""Sentences at the start of a run on what was read: images, preprocessing, heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.cells.plan import PreparedTarget
from harness.datasets.summary import describe
from harness.progress import Reporter


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
