"""Progress of a run as its log says: cell i of n, the time left when the last cell ended, and a long step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_LINE = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}) (.*)", re.DOTALL)
_COUNTED = re.compile(r"(\d{1,9})/(\d{1,9}) ")
# As `harness.run.journal.step_text` writes it.
_STEP = re.compile(r"\.\.\. (.{1,200}): (\d{1,12}) of (\d{1,12})")
_LEFT = re.compile(r"; about ([0-9][0-9a-z ]{0,20}) left$")


class RunProgress(NamedTuple):
    """Progress of a run."""

    n_ended: int
    """cells that have finished or failed, also those of earlier runs"""
    n_cells: int
    left: str | None
    """estimated time left when the last cell ended, in words; None if it was not known"""
    at: datetime | None
    """time of the last cell"""


def progress_of(lines: Sequence[str]) -> RunProgress | None:
    """Return the progress that the last lines of a log tell; None if no cell has ended in them."""
    for line in reversed(lines):
        moment = _LINE.match(line)
        counted = _COUNTED.match(moment[2]) if moment else None
        if moment is None or counted is None:
            continue
        n_ended, n_cells = int(counted[1]), int(counted[2])
        if not 0 < n_ended <= n_cells:
            continue
        left = _LEFT.search(line)
        return RunProgress(n_ended, n_cells, left[1] if left else None, logged_at(line))
    return None


def step_of(lines: Sequence[str]) -> str | None:
    """Return the step that a run was in when it wrote the last line of its log; None if that line is about another."""
    moment = _LINE.match(lines[-1]) if lines else None
    step = _STEP.fullmatch(moment[2]) if moment else None
    return None if step is None else f"{step[1]}: {step[2]} of {step[3]}"


def logged_at(line: str) -> datetime | None:
    """Return the time of a line of a log, None if it has none."""
    moment = _LINE.match(line)
    if moment is None:
        return None
    try:
        return datetime.strptime(moment[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
