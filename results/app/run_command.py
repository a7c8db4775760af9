"""Recorded command of a run, as it can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path


def typed_command(command: str, store: Path | None = None) -> str:
    """Return a recorded command as it can be typed, with the full path of `store`; other paths stay as recorded.

    Commands are stored without folders, because results travel between machines.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quotation mark
        return command
    if words[:1] == ["__main__.py"]:
        words[:1] = ["python", "-m", "harness"]
    for index, word in enumerate(words):
        if store is not None and word == "--store" and words[index + 1 : index + 2] == [store.name]:
            words[index + 1] = str(store)
        elif store is not None and word == f"--store={store.name}":
            words[index] = f"--store={store}"
    return shlex.join(words)
