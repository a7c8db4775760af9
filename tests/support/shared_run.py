"""Run a small suite as a program that shares its store with others; it logs each fit and each cell written.

Arguments: pictures, store, log, seconds of a lease, seconds that each fit takes at least, methods. Prints the counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import tiny_backbones  # noqa: F401 - registers them
from small_runs import suite_of

from harness.cells import fit
from harness.progress import Silent
from harness.run import run
from results.store import liveness
from results.store.cell_rows import CellRows


class Log(Silent):
    """Appends one line per event, in one write: lines of several processes do not mix."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, *words: str) -> None:
        with open(self.file, "a") as log:
            log.write(" ".join([str(os.getpid()), *words]) + "\n")

    def say(self, sentence: str) -> None:
        self.write("says", sentence)


def main(pictures: str, store: str, log: str, lease: str, seconds: str, *names: str) -> None:
    """Run the suite."""
    reporter = Log(Path(log))
    liveness.LEASE_S = float(lease)
    liveness.RENEW_S = float(lease) / 5
    cost_of, write = fit.cost_of, CellRows.write

    def logged_cost(make: Any, device: Any) -> Any:
        reporter.write("fit")
        until = time.monotonic() + float(seconds)
        cost = cost_of(make, device)
        while time.monotonic() < until:
            time.sleep(0.02)
        reporter.write("fitted")
        return cost

    def logged_write(self: CellRows, opened: Any) -> None:
        reporter.write("writes", self.cell_id)
        write(self, opened)

    fit.cost_of = logged_cost
    CellRows.write = logged_write  # type: ignore[method-assign]
    reporter.write("starts")
    summary = run(suite_of(Path(pictures), *names), store, reporter=reporter)
    print(json.dumps({name: getattr(summary, name) for name in ("finished", "failed", "elsewhere", "interrupted")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
