"""Traces: times by section without those inside, threads, files in the Trace Event Format, no effect without one."""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from methods.tracing import DEVICE, HOST, Key, Trace, section, traced, tracing


class Clock:
    """Clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_time_of_a_section_excludes_the_sections_inside(clock: Clock) -> None:
    with tracing(Trace(clock=clock)) as trace, section("outer"):
        clock.now += 1
        for _ in range(2):
            with section("inner", DEVICE):
                clock.now += 10
        clock.now += 2
    assert trace.seconds == {Key("outer", "outer", HOST): 3.0, Key("outer", "inner", DEVICE): 20.0}
    assert trace.calls == {Key("outer", "outer", HOST): 1, Key("outer", "inner", DEVICE): 2}
    assert sum(trace.seconds.values()) == trace.elapsed == 23.0


def test_without_a_trace_a_section_is_one_shared_object_and_a_function_is_called_as_it_is() -> None:
    assert section("a") is section("b", DEVICE)
    calls: list[int] = []

    @traced("work")
    def work(value: int) -> int:
        calls.append(value)
        return value + 1

    assert work(1) == 2 and calls == [1] and work.__name__ == "work"


def test_a_raising_section_is_recorded_and_the_error_passes(clock: Clock) -> None:
    @traced("work", DEVICE)
    def work() -> None:
        clock.now += 5
        raise ValueError("no")

    with tracing(Trace(clock=clock)) as trace, pytest.raises(ValueError, match="no"):
        work()
    assert trace.seconds == {Key("work", "work", DEVICE): 5.0}


def test_a_trace_ends_with_its_context(clock: Clock) -> None:
    with tracing(Trace(clock=clock)) as trace:
        pass
    with section("later"):
        clock.now += 1
    assert not trace.seconds


def test_a_device_section_waits_for_the_device_at_both_ends(clock: Clock) -> None:
    waits: list[float] = []
    with tracing(Trace(lambda: waits.append(clock.now), clock)):
        with section("host"):
            clock.now += 1
        with section("device", DEVICE):
            clock.now += 1
    assert waits == [1.0, 2.0]


def test_threads_with_a_copy_of_the_context_have_sections_of_their_own(clock: Clock) -> None:
    def work() -> None:
        with section("in a thread"):
            clock.now += 4

    with tracing(Trace(clock=clock)) as trace, section("outer"):
        for context in (contextvars.copy_context(), None):
            thread = threading.Thread(target=work if context is None else lambda c=context: c.run(work))
            thread.start()
            thread.join()
    # A thread without the context records nothing; that of the other one is not part of "outer".
    assert trace.seconds[Key("in a thread", "in a thread", HOST)] == 4.0
    assert trace.calls[Key("in a thread", "in a thread", HOST)] == 1
    assert trace.seconds[Key("outer", "outer", HOST)] == 8.0


def test_a_generator_that_is_closed_late_ends_only_its_own_section(clock: Clock) -> None:
    def batches() -> Iterator[int]:
        with section("generator"):
            yield 1
            clock.now += 1

    with tracing(Trace(clock=clock)) as trace:
        with section("outer"):
            stream = batches()
            next(stream)
            clock.now += 2
        stream.close()
        with section("next"):
            clock.now += 3
    assert trace.seconds[Key("next", "next", HOST)] == 3.0
    assert trace.calls[Key("outer", "outer", HOST)] == 1


def test_the_file_has_complete_events_in_microseconds(tmp_path: Path, clock: Clock) -> None:
    with tracing(Trace(clock=clock)) as trace:
        clock.now = 0.5
        with section("network", DEVICE):
            clock.now = 0.75
    trace.write(tmp_path / "new" / "trace.json")
    content = json.loads((tmp_path / "new" / "trace.json").read_text())
    assert content["traceEvents"] == [
        {"name": "network", "cat": "device", "ph": "X", "ts": 500_000, "dur": 250_000, "pid": 0, "tid": 0}
    ]


def test_events_are_limited_and_sums_are_not(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("methods.tracing.MOST_EVENTS", 2)
    with tracing(Trace(clock=clock)) as trace:
        for _ in range(5):
            with section("step"):
                clock.now += 1
    assert len(trace.events) == 2 and trace.seconds == {Key("step", "step", HOST): 5.0}
