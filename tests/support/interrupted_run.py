"""Run a small suite as a program, and kill the process by SIGKILL at a given step of progress."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import tiny_backbones  # noqa: F401 - registers them
from small_runs import suite_of

from harness.progress import Silent
from harness.run import run


class Kill(Silent):
    """Ends the process without warning at the ``steps``-th step of progress, whatever it is doing; 0: never."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def progress(self, done: int, total: int, what: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    pictures, store, steps, *methods = sys.argv[1:]
    print(run(suite_of(Path(pictures), *methods), store, reporter=Kill(int(steps))).finished)
