"""Sections of a run in a trace: which of them a device computes, and in which a GPU would wait for the host.

A section is named where its code is, by :func:`section` or :func:`traced`. Without an open trace both do nothing but
read one context variable. Sections may be nested; the time of a section excludes that of the sections inside it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, NamedTuple, ParamSpec, TypeVar

from methods.atomic import partial_file

P = ParamSpec("P")
R = TypeVar("R")

Place = Literal["device", "host"]
#: Tensors of a device section are on the device of the run, so a GPU computes it if there is one. In a host section
#: (decoding, disk, copies, code that only the CPU has) the GPU waits.
DEVICE: Place = "device"
HOST: Place = "host"

#: Events kept for the file of a trace; the sums include those beyond.
MOST_EVENTS = 200_000


class Event(NamedTuple):
    """One section, as it was entered and left."""

    name: str
    place: Place
    start: float
    """seconds since the trace was opened"""
    seconds: float
    thread: int


class Key(NamedTuple):
    """Name of a section, and the outermost section that it is in."""

    outermost: str
    name: str
    place: Place


class _Open:
    """Section that has been entered and not left."""

    def __init__(self, name: str, place: Place, start: float) -> None:
        self.name = name
        self.place = place
        self.start = start
        self.inner = 0.0
        """seconds of the sections inside"""


class Trace:
    """Record of sections.

    Args:
        synchronise: waits for the device; called at both ends of a device section, so that its time is its own.
        clock: returns seconds.
    """

    def __init__(
        self, synchronise: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._synchronise = synchronise
        self._clock = clock
        self._started = clock()
        self._stacks: dict[int, list[_Open]] = {}
        self._lock = threading.Lock()
        self.events: list[Event] = []
        self.seconds: dict[Key, float] = {}
        """section -> time without that of the sections inside it, over all threads"""
        self.calls: dict[Key, int] = {}

    @contextlib.contextmanager
    def section(self, name: str, place: Place) -> Iterator[None]:
        """Record the time within the context under a name."""
        thread = threading.get_ident()
        stack = self._stacks.setdefault(thread, [])
        if place == DEVICE:
            self._synchronise()
        entered = _Open(name, place, self._clock())
        stack.append(entered)
        try:
            yield
        finally:
            if place == DEVICE:
                self._synchronise()
            self._leave(stack, entered, thread)

    def _leave(self, stack: list[_Open], entered: _Open, thread: int) -> None:
        # A generator that is closed late leaves its section after those around it.
        if entered not in stack:
            return
        while stack and stack.pop() is not entered:
            pass
        seconds = self._clock() - entered.start
        if stack:
            stack[-1].inner += seconds
        key = Key(stack[0].name if stack else entered.name, entered.name, entered.place)
        with self._lock:
            self.seconds[key] = self.seconds.get(key, 0.0) + max(0.0, seconds - entered.inner)
            self.calls[key] = self.calls.get(key, 0) + 1
            if len(self.events) < MOST_EVENTS:
                self.events.append(Event(entered.name, entered.place, entered.start - self._started, seconds, thread))

    @property
    def elapsed(self) -> float:
        """Seconds since the trace was opened."""
        return self._clock() - self._started

    def write(self, file: Path) -> None:
        """Write the events in the Trace Event Format, which Perfetto and Chrome's ``about:tracing`` open."""
        threads = {thread: number for number, thread in enumerate(dict.fromkeys(e.thread for e in self.events))}
        events = [
            {
                "name": event.name,
                "cat": event.place,
                "ph": "X",
                "ts": round(1e6 * event.start),
                "dur": round(1e6 * event.seconds),
                "pid": 0,
                "tid": threads[event.thread],
            }
            for event in self.events
        ]
        with partial_file(file) as partial:
            partial.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
_NOTHING = contextlib.nullcontext()


@contextlib.contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Open a trace for the sections of this thread, and of threads that run in a copy of its context."""
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def section(name: str, place: Place = HOST) -> AbstractContextManager[None]:
    """Return the context of a section; of no effect if no trace is open."""
    trace = _trace.get()
    return _NOTHING if trace is None else trace.section(name, place)


def traced(name: str, place: Place = HOST) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make each call of a function a section (decorator); not for generator functions."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            trace = _trace.get()
            if trace is None:
                return function(*args, **kwargs)
            with trace.section(name, place):
                return function(*args, **kwargs)

        return call

    return decorate
