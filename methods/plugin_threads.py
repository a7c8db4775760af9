"""Threads that code of a plugin leaves running: Python waits for them at the end of the process, perhaps for ever."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

#: Seconds that the process waits for them at its end.
PATIENCE_S = 5.0
#: Start of the names of threads of ``concurrent.futures``: they end by themselves with the process.
_POOL = "ThreadPoolExecutor-"

_started: set[threading.Thread] = set()


@contextmanager
def watched_threads() -> Iterator[None]:
    """Remember the threads that are started in the context and still run at its end, except for daemons."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        after = threading.enumerate()
        if len(after) > len(before) or not before.issuperset(after):
            _started.update(
                thread
                for thread in after
                if thread not in before and not thread.daemon and not thread.name.startswith(_POOL)
            )


def unfinished_threads(patience_s: float = 0.0) -> list[threading.Thread]:
    """Return the remembered threads that still run after ``patience_s`` seconds."""
    end = time.monotonic() + patience_s
    for thread in list(_started):
        thread.join(max(0.0, end - time.monotonic()))
        if not thread.is_alive():
            _started.discard(thread)
    return sorted(_started, key=lambda thread: thread.name)


def end_without_threads(code: int) -> None:
    """Let the process end with this exit code in :data:`PATIENCE_S` seconds if remembered threads run for longer."""
    if not unfinished_threads():
        return

    def leave() -> None:
        left = unfinished_threads(PATIENCE_S)
        if not left:
            return
        with contextlib.suppress(Exception):
            names = ", ".join(repr(thread.name) for thread in left[:3])
            sys.stderr.write(f"harness: ended without waiting for threads of plugins that still run: {names}.\n")
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)

    threading.Thread(target=leave, name="end without threads", daemon=True).start()


#: Threads whose exceptions do not concern the code that runs beside them.
_background: WeakSet[threading.Thread] = WeakSet()


@contextmanager
def background_threads() -> Iterator[None]:
    """Ignore exceptions of threads that are started in the context, then and later, as those of a training log."""
    before, hook = set(threading.enumerate()), threading.excepthook

    def pass_on(arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread in before:
            hook(arguments)

    threading.excepthook = pass_on
    try:
        yield
    finally:
        if threading.excepthook is pass_on:
            threading.excepthook = hook
        _background.update(thread for thread in threading.enumerate() if thread not in before)


def is_background(thread: threading.Thread | None) -> bool:
    """Return whether a thread was started in :func:`background_threads`."""
    return thread is not None and thread in _background
