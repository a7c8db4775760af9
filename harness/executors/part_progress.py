"""Progress of the parts of a divided fit: one small file per part, in the cell's folder for resuming.

A worker writes it, on any machine that shares the folder; the process of the run reads it. Nothing but the line of
progress depends on it, so a file that cannot be written or read is left out. It is removed with the folder.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from methods.atomic import partial_file
from methods.base import Progress

#: Seconds between two writes: a line of progress needs no more, and the folder may be on a network.
WRITE_EVERY = 2.0


class PartProgress(NamedTuple):
    """Last report of one part."""

    done: int
    total: int
    what: str


def reporting_part(folder: Path, items: range) -> Progress:
    """Return a progress callback that writes to the file of a part."""
    file = _file(folder, items)
    written = float("-inf")

    def report(done: int, total: int, what: str) -> None:
        nonlocal written
        if done >= total or time.monotonic() - written >= WRITE_EVERY:
            written = time.monotonic()
            with contextlib.suppress(OSError), partial_file(file) as partial:
                partial.write_text(json.dumps([done, total, what]))

    return report


def progress_of(folder: Path, parts: Sequence[range]) -> PartProgress | None:
    """Return the sum over the parts that report the same quantity as the first of them; None if no part reports."""
    reports = [report for report in (_read(_file(folder, items)) for items in parts) if report is not None]
    if not reports:
        return None
    alike = [report for report in reports if report.what == reports[0].what]
    return PartProgress(sum(report.done for report in alike), sum(report.total for report in alike), reports[0].what)


def _file(folder: Path, items: range) -> Path:
    return folder / f".progress-{items.start}"


def _read(file: Path) -> PartProgress | None:
    try:
        # A report is a short line; another file is not read whole.
        with file.open() as stream:
            done, total, what = json.loads(stream.read(1000))
        return PartProgress(int(done), int(total), str(what))
    except (OSError, ValueError, TypeError):
        return None
