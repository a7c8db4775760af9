"""What is printed once at the start of a run about its targets."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cells.plan import PreparedTarget
from harness.progress import Reporter


def announce_targets(prepared: Sequence[PreparedTarget], reporter: Reporter) -> None:
    """Report the preprocessing and the notes of every backbone, each once."""
    sentences = [
        sentence
        for backbone in (target.backbone for target in prepared)
        for sentence in (
            f"{backbone.name}: {backbone.preprocessing.describe()}.",
            *(f"{backbone.name}: {note}" for note in backbone.notes),
        )
    ]
    for sentence in dict.fromkeys(sentences):
        reporter.say(sentence)
