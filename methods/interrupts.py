"""Interruptions by the user (Ctrl-C, SIGTERM), told from a ``KeyboardInterrupt`` that a plugin raises by itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn, TypeVar

from methods.raw_exceptions import is_a, previous_of, traceback_of

F = TypeVar("F", bound=Callable[..., Any])

#: Code of the functions that raise KeyboardInterrupt because the user asked for it.
_INTERRUPTING: set[CodeType] = set()


def interrupting(function: F) -> F:
    """Mark a function that raises KeyboardInterrupt on behalf of the user (decorator)."""
    _INTERRUPTING.add(function.__code__)
    return function


def is_interrupt(error: BaseException | None) -> bool:
    """Return True if the user interrupted the process: a marked function raised, and not the plugin itself."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if is_a(error, KeyboardInterrupt) and _through_marked(traceback_of(error)):
            return True
        error = previous_of(error)
    return False


@contextmanager
def recognisable_interrupts() -> Iterator[None]:
    """Raise a KeyboardInterrupt that :func:`is_interrupt` knows if SIGINT arrives within the context.

    This does not depend on what the code within the context makes of the signal: it may replace the exception by
    another one, suppress it, or install a handler of its own, as ``asyncio.run`` does. In threads other than the main
    one, which signals do not interrupt, the context does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _own_handler(), _arriving_signals() as signals:
        try:
            yield
        except BaseException as error:
            if signals.interrupted():
                raise_interrupt(error)
            raise
        if signals.interrupted():
            raise_interrupt(None)


@interrupting
def raise_interrupt(cause: BaseException | None) -> NoReturn:
    """Raise a KeyboardInterrupt that :func:`is_interrupt` knows, in place of what the plugin made of it."""
    raise KeyboardInterrupt from cause


@interrupting
def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _own_handler() -> Iterator[None]:
    """Replace Python's own handler of SIGINT by a marked one, so that the exception is known where it is caught."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Signals:
    """Signals that arrived at this process, as Python's signal wake-up writes them to a socket."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self.numbers = b""

    def interrupted(self) -> bool:
        with suppress(BlockingIOError):
            self.numbers += self._receiver.recv(4096)
        return signal.SIGINT in self.numbers


@contextmanager
def _arriving_signals() -> Iterator[_Signals]:
    """Record the signals that arrive within the context, and pass them on to who recorded them before."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        signals = _Signals(receiver)
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield signals
        finally:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            signals.interrupted()
            if before != -1 and signals.numbers:
                # For the event loop of a notebook, for example, which would otherwise not notice them.
                with suppress(OSError):
                    os.write(before, signals.numbers)


def _through_marked(trace: TracebackType | None) -> bool:
    while trace is not None:
        if trace.tb_frame.f_code in _INTERRUPTING:
            return True
        trace = trace.tb_next
    return False
