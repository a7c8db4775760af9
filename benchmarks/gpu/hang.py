"""Section that never ends, for the test of the time limits; it runs only if it is named."""

from __future__ import annotations

import subprocess
import time

from gpu.record import Record

TITLE = "A section that hangs"
ORDER = 99
LIMIT_S = 3
#: Left out unless ``--sections`` names it.
ON_REQUEST = True


def run(record: Record) -> None:
    """Write one row, start a process that sleeps, and sleep."""
    child = subprocess.Popen(["sleep", "600"])
    record.row("before", child=child.pid)
    time.sleep(600)
