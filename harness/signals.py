"""Reliable handling of SIGINT and SIGTERM: a lost KeyboardInterrupt is raised again at the next check."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from methods.interrupts import interrupting


class Interruption:
    """Flag that records a request to stop the process.

    The exception that a signal handler raises can be lost: compiled code that calls back into Python (as numba does
    while it compiles) ignores it. The request is therefore recorded too, and :meth:`check` raises it at the next step.
    """

    def __init__(self) -> None:
        self.requested = False

    @interrupting
    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was requested."""
        if self.requested:
            raise KeyboardInterrupt

    @interrupting
    def handle_signal(self, *_: Any) -> None:
        """Record the request and raise KeyboardInterrupt; the signal handler."""
        self.requested = True
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM (sent by batch systems) into KeyboardInterrupt while active; main thread only."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous_handlers = {
        number: signal.signal(number, interruption.handle_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interruption
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
