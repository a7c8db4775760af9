"""Calls of a judge's own code: whatever it raises becomes one sentence, and only a real interrupt interrupts."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from methods.errors import UserError, first_line
from methods.plugin_files import is_plugin_module
from results.errors import StoreError


@contextmanager
def guarded(judge: str, call: str, advice: str = "") -> Iterator[None]:
    """Turn every exception of a judge's code within the context into one sentence that names the judge and the call.

    The code may be a plugin's, so this includes exceptions that do not derive from ``Exception`` (``SystemExit``,
    ``KeyboardInterrupt``, ``GeneratorExit``) and those whose text cannot be read.

    Args:
        judge: description that starts the sentence (``The judge 'x'``).
        call: the method or function that runs.
        advice: sentence that follows.

    Raises:
        UserError: the code raised something; a UserError or StoreError of its own is passed on.
        KeyboardInterrupt: the process received SIGINT within the context, whatever the code made of it.
    """
    with _interrupt_signals() as signals:
        try:
            yield
        except BaseException as error:
            if signals.interrupted():
                raise KeyboardInterrupt from error
            if isinstance(error, UserError | StoreError) and _readable(error):
                raise
            raise UserError(
                f"{judge} failed in {call}: {first_line(error)}{_place_of(error)}. {advice}".strip()
            ) from error
        if signals.interrupted():
            raise KeyboardInterrupt


@contextmanager
def opened(judge: AbstractContextManager[Any], name: str) -> Iterator[None]:
    """Enter a judge and leave it again, both guarded. An error within the context is not replaced by one of leaving."""
    with guarded(name, "__enter__"):
        judge.__enter__()
    try:
        yield
    except BaseException as error:
        try:
            with guarded(name, "__exit__"):
                judge.__exit__(type(error), error, error.__traceback__)
        except UserError as other:
            error.add_note(str(other))
        raise
    with guarded(name, "__exit__"):
        judge.__exit__(None, None, None)


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
def _interrupt_signals() -> Iterator[_Signals]:
    """Record the signals of the context. A ``KeyboardInterrupt`` without SIGINT was raised by the code itself."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        signals = _Signals(receiver)
        try:
            before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread, in which alone a signal raises KeyboardInterrupt
            yield signals
            return
        try:
            yield signals
        finally:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            signals.interrupted()
            if before != -1 and signals.numbers:
                # For the event loop of a notebook, for example, which would otherwise not notice them.
                with suppress(OSError):
                    os.write(before, signals.numbers)


def _readable(error: BaseException) -> bool:
    try:
        return isinstance(str(error), str)
    except BaseException:
        return False


def _place_of(error: BaseException) -> str:
    """Return `` (line N of FILE)`` of the innermost frame in a plugin, else of the innermost one."""
    frames = list(traceback.walk_tb(error.__traceback__))
    in_plugin = [frame for frame in frames if is_plugin_module(frame[0].f_globals.get("__name__", ""))]
    if not frames:
        return ""
    frame, line = (in_plugin or frames)[-1]
    return f" (line {line} of {Path(frame.f_code.co_filename).name})"
