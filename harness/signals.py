"""Ctrl-C and termination that are not lost: noted, and raised again where nothing swallows them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interruption:
    """Whether the process was asked to stop.

    The exception that a signal handler raises can be lost: compiled code that calls back into Python (numba does while
    it compiles) ignores it there. So it is noted too, and :meth:`check` raises it at the next step.
    """

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if the process was asked to stop."""
        if self.asked:
            raise KeyboardInterrupt

    def ask(self, *_: Any) -> None:
        """The signal handler."""
        self.asked = True
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """While active, SIGINT and SIGTERM (what a batch system sends) both interrupt; in the main thread only."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
