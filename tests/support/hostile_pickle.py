"""Checkpoint with code that must not run."""

from __future__ import annotations

from pathlib import Path


class Payload:
    """Unpickling this would run code of the file's choosing."""

    def __reduce__(self):
        return (Path.touch, (Path("never_created_by_a_checkpoint"),))
