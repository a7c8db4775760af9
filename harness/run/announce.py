"""What is printed once at the start of a run about its targets."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cells.plan import PreparedTarget
from harness.progress import Reporter


def announce_targets(prepared: Sequence[PreparedTarget], reporter: Reporter) -> None:
    """Report the preprocessing and the notes of every backbone, each once in all parts of a suite."""
    for target in prepared:
        backbone = target.backbone
        reporter.say_once(f"{backbone.name}: {backbone.preprocessing.describe()}.")
        for note in backbone.notes:
            reporter.say_once(f"{backbone.name}: {note}")
