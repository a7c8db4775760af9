"""Sentences on the heads of a run, printed before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cells.plan import PreparedTarget
from harness.progress import Reporter


def announce_heads(prepared: Sequence[PreparedTarget], reporter: Reporter) -> None:
    """Print the notes of the heads of all targets, each once."""
    for sentence in dict.fromkeys(note for target in prepared for note in target.head.notes()):
        reporter.say(sentence)
