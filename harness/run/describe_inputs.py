"""Sentences at the start of a run about what was read: the images of every target."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cells.plan import PreparedTarget
from harness.datasets.summary import describe


def describe_inputs(prepared: Sequence[PreparedTarget]) -> list[str]:
    """Return the sentences about the inputs of a run. Each image set is described once."""
    splits = {target.evaluation.fingerprint + target.probing.fingerprint: target.split for target in prepared}
    return [sentence for split in splits.values() for sentence in describe(split)]
