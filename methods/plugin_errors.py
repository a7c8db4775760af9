"""Exceptions of plugin code, of every kind, as one sentence that names the plugin.

A plugin may raise anything: ``SystemExit``, a ``KeyboardInterrupt`` of its own, another ``BaseException``, or an
exception whose text cannot be read. :func:`plugin_call` turns all of them into a :class:`PluginError`, which the
command line prints as one message. A real interruption (Ctrl-C, SIGTERM) goes through.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from methods.errors import UserError
from methods.interrupts import is_interrupt, raise_interrupt, recognisable_interrupts
from methods.plugin_threads import is_background, watched_threads
from methods.process_state import restored
from methods.raw_exceptions import is_a, traceback_of

#: Most characters of an exception's text that are kept.
LONGEST_TEXT = 2000
#: Most characters of the name of its class.
LONGEST_NAME = 100
#: Most characters of it in a sentence.
LONGEST_REASON = 200

#: Control characters other than tab and line end, and halves of surrogate pairs, which no file or database can hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class PluginError(UserError):
    """A plugin has failed; the sentence names it, and the cause has the traceback."""


def clean_text(text: str) -> str:
    """Return a text without characters that a terminal obeys or that cannot be stored."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def type_name(error: BaseException) -> str:
    """Return the name of an exception's class in one line, whatever its metaclass does."""
    name = clean_text(" ".join(type.__dict__["__name__"].__get__(type(error)).split()))
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."


def text_of(error: BaseException) -> str:
    """Return the text of an exception, whatever its ``__str__`` does; its type if it has no text."""
    name = type_name(error)
    try:
        text = str.__str__(str(error)).strip()
    except BaseException as problem:
        if is_interrupt(problem):
            raise
        return f"{name} (its text cannot be read)"
    return clean_text(text[:LONGEST_TEXT]) or str(name)


def type_and_text(error: BaseException) -> str:
    """Return ``TYPE: TEXT`` of an exception in one line."""
    name, text = type_name(error), " ".join(text_of(error).split())
    return text if text.startswith(name) else f"{name}: {text}"


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an exception as text that can be stored, at most about 100,000 characters."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as problem:
        if is_interrupt(problem):
            raise
        text = "".join(traceback.format_tb(traceback_of(error))) + type_and_text(error)
    text = clean_text(text)
    return text if len(text) <= 100_000 else f"{text[:50_000]}\n...\n{text[-50_000:]}"


_REAL_EXIT = os._exit
#: What stands in for ``os._exit`` in each context of :func:`exits_as_exceptions` that is open, in any thread.
_stand_ins: list[Callable[[int], NoReturn]] = []


@contextmanager
def exits_as_exceptions() -> Iterator[None]:
    """Let ``os._exit`` raise SystemExit within the context, in this process.

    A child that code in the context forked ends at once if it calls ``os._exit``, and at the end of the context at the
    latest, whatever was raised in it: it must not go on with the work of this process beside it.
    """
    process = os.getpid()

    def leave(status: int = 0) -> NoReturn:
        if os.getpid() != process:
            _REAL_EXIT(status)
        raise SystemExit(f"os._exit({status})")

    _stand_ins.append(leave)
    os._exit = leave
    status = 1
    try:
        yield
        status = 0
    except SystemExit as end:
        status = _exit_status(end)
        raise
    finally:
        _stand_ins.remove(leave)
        os._exit = _stand_ins[-1] if _stand_ins else _REAL_EXIT  # type: ignore[assignment]
        if os.getpid() != process:
            _REAL_EXIT(status)


def _exit_status(end: SystemExit) -> int:
    code = SystemExit.__dict__["code"].__get__(end)
    if code is None:
        return 0
    return code & 0xFF if type(code) is int else 1


@contextmanager
def failing_threads(subject: str) -> Iterator[None]:
    """Raise PluginError at the end of the context if a thread that was started in it has raised by then."""
    errors: list[BaseException] = []
    before = threading.excepthook

    def collect(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not is_background(arguments.thread):
            errors.append(arguments.exc_value)

    threading.excepthook = collect
    try:
        with watched_threads():
            yield
    finally:
        if threading.excepthook is collect:
            threading.excepthook = before
    if errors:
        raise PluginError(f"A thread of {subject} raised {type_and_text(errors[0])}.") from errors[0]


@contextmanager
def plugin_errors(
    subject: str, advice: str = "", *, call: str = "", passed: tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Raise whatever code of a plugin raises as PluginError.

    Args:
        subject: start of the sentence, such as ``The judge 'x'``.
        advice: end of the sentence: what to do.
        call: the method or function that runs.
        passed: further exceptions that are raised unchanged.

    Raises:
        UserError: as raised by the plugin.
        PluginError: for any other exception.
        KeyboardInterrupt: if the user interrupted the process, whatever the plugin made of it.
    """
    with recognisable_interrupts():
        try:
            with exits_as_exceptions(), watched_threads():
                yield
        except BaseException as error:
            if is_interrupt(error):
                raise_interrupt(error)
            if is_a(error, (UserError, *passed)) and has_text(error):
                raise
            where = f"{f' in {call}' if call else ''}{line_in_plugin(error)}"
            sentence = f"{subject} failed{where}: {type_and_text(error)[:LONGEST_REASON].rstrip('.')}."
            raise PluginError(f"{sentence} {advice}".rstrip()) from error


@contextmanager
def plugin_call(subject: str, advice: str = "", *, changes: list[str] | None = None) -> Iterator[None]:
    """Run code of a plugin as in :func:`plugin_errors`, and restore the process's settings after it.

    Args:
        subject: start of the sentence, such as ``The method 'x' (plugin x.py)``.
        advice: end of the sentence: what to do.
        changes: receives the settings that the plugin changed (:func:`methods.process_state.restored`).

    Raises:
        UserError: as :func:`plugin_errors`.
        KeyboardInterrupt: as :func:`plugin_errors`.
    """
    with plugin_errors(subject, advice), restored(changes):
        yield


def has_text(error: BaseException) -> bool:
    """Return True if the text of an exception can be read and is not empty."""
    with contextlib.suppress(BaseException):
        return bool(str.__str__(str(error)))
    return False


def line_in_plugin(error: BaseException) -> str:
    """Return `` at line N of FILE`` of the innermost frame that is in a plugin file, or an empty string."""
    from methods.plugin_files import is_plugin_module

    location, trace = "", traceback_of(error)
    while trace is not None:
        if is_plugin_module(str(trace.tb_frame.f_globals.get("__name__", ""))):
            location = f" at line {trace.tb_lineno} of {Path(trace.tb_frame.f_code.co_filename).name}"
        trace = trace.tb_next
    return location


def warn_in_a_sentence() -> None:
    """Print exceptions of threads and of ``__del__`` as one sentence on standard error, not as a traceback."""

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not is_a(arguments.exc_value, SystemExit):
            _say(f"a thread raised {type_and_text(arguments.exc_value)}{line_in_plugin(arguments.exc_value)}.")

    def unraisable(arguments: Any) -> None:
        if arguments.exc_value is not None:
            where = line_in_plugin(arguments.exc_value)
            _say(f"an object raised {type_and_text(arguments.exc_value)}{where} when it was removed.")

    threading.excepthook = of_thread
    sys.unraisablehook = unraisable


def _say(sentence: str) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(f"harness: {sentence}\n")
