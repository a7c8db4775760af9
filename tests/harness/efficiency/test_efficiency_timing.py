"""Timing: the order of laps, the ratio and its interval, and the clock and memory of a GPU that is made up."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from harness.efficiency.measure import compile_step
from harness.efficiency.memory import peak_of
from harness.efficiency.protocol import CPU, CUDA
from harness.efficiency.ratio import median, order_of, paired_ratio
from harness.efficiency.timing import CudaClock, MonotonicClock, clock_of, paired

# ---- on any clock


def test_networks_are_timed_in_turns() -> None:
    """A clock that the steps themselves move: each lap is its own step's time, and nothing else."""
    order: list[str] = []
    now = 0.0

    def step(name: str, seconds: float) -> None:
        nonlocal now
        order.append(name)
        now += seconds * len(order)

    found = paired(lambda: step("A", 1.0), lambda: step("B", 2.0), MonotonicClock(lambda: now), warmup=1, repeats=3)
    assert "".join(order) == "AB" + "ABBAAB"
    assert found.reference.tolist() == [3000, 6000, 7000] and found.variant.tolist() == [8000, 10000, 16000]


def test_neither_network_gains_by_its_place() -> None:
    """Two equal steps on a machine where whatever runs second of two takes 8 % longer."""
    now, done = 0.0, 0

    def step() -> None:
        nonlocal now, done
        now += 1.08 if done % 2 else 1.0
        done += 1

    found = paired(step, step, MonotonicClock(lambda: now), warmup=0, repeats=30)
    ratios = found.variant / found.reference
    assert sorted(set(ratios.round(9))) == pytest.approx([1 / 1.08, 1.08])
    ratio = paired_ratio(found.reference, found.variant)
    assert ratio.value == pytest.approx(1, abs=0.004) and ratio.low is not None and ratio.high is not None
    assert ratio.low < 1 < ratio.high


def test_the_ratio_survives_a_machine_that_slows_down() -> None:
    pace = np.linspace(1, 5, 15)
    assert paired_ratio(10 * pace, 12 * pace).value == pytest.approx(1.2)
    # A few disturbed batches move neither the median nor its interval.
    disturbed = 12 * pace
    disturbed[:3] *= 50
    found = paired_ratio(10 * pace, disturbed)
    assert (found.value, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))


def test_the_interval_is_the_order_statistics_that_cover_the_median() -> None:
    # Tables of the sign test: n = 6 needs the extremes, 15 the fourth from either end, 500 the 228th.
    assert [order_of(n) for n in (5, 6, 15, 500)] == [0, 1, 4, 228]
    found = median(np.arange(15, 0, -1))
    assert (found.value, found.low, found.high, found.n) == (8, 4, 12, 15)
    assert found.standard_error == pytest.approx(8 / (2 * 1.959964), rel=1e-6)
    assert median(np.arange(5)).standard_error is None and math.isnan(median(np.empty(0)).value)
    for n in (6, 15, 500):
        outside = 2 * sum(math.comb(n, i) for i in range(order_of(n))) / 2**n
        assert outside <= 0.05 < outside + 2 * math.comb(n, order_of(n)) / 2**n


def test_the_protocol_on_a_gpu_is_the_papers() -> None:
    assert (CUDA.batch_size, CUDA.warmup, CUDA.repeats, CUDA.compiled) == (256, 100, 500, True)
    assert CPU.repeats < CUDA.repeats and not CPU.compiled


def test_the_peak_of_memory_sees_what_was_freed_again() -> None:
    def allocate() -> None:
        torch.ones(25_000_000).sum()

    found = peak_of(allocate, torch.device("cpu"))
    if found.bytes is None:
        pytest.skip(found.kind)
    assert 90e6 < found.bytes < 200e6


# ---- a GPU's clock and memory, of which only the device is made up


class Device:
    """A GPU as its host sees it: what is started waits in a queue until somebody synchronises.

    Every call is held to the signature of torch's own function of that name.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.queue: list[tuple[str, Any]] = []
        self.calls: list[str] = []
        self.here: list[torch.device] = []
        self.of = {name: getattr(torch.cuda, name) for name in ("Event", "device", "synchronize")}
        for name in ("reset_peak_memory_stats", "max_memory_allocated"):
            self.of[name] = getattr(torch.cuda, name)
            monkeypatch.setattr(torch.cuda, name, self._named(name))
        monkeypatch.setattr(torch.cuda, "synchronize", self._named("synchronize"))
        monkeypatch.setattr(torch.cuda, "Event", self._event)
        monkeypatch.setattr(torch.cuda, "device", self._device)

    def start(self, milliseconds: float) -> None:
        self.queue.append(("work", milliseconds))

    def _named(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> int:
            inspect.signature(self.of[name]).bind(*args, **kwargs)
            assert args == (torch.device("cuda", 1),), "the device that the network is on, not the current one"
            self.calls.append(name)
            if name == "synchronize":
                for kind, what in self.queue:
                    if kind == "work":
                        self.now += what
                    else:
                        what.at = self.now
                self.queue.clear()
            return 12_000_000

        return call

    def _event(self, **kwargs: Any) -> Event:
        inspect.signature(self.of["Event"].__new__).bind(self.of["Event"], **kwargs)
        assert kwargs == {"enable_timing": True}, "an event that takes no time cannot be asked for one"
        return Event(self)

    @contextmanager
    def _device(self, device: torch.device) -> Iterator[None]:
        inspect.signature(self.of["device"]).bind(device)
        self.here.append(device)
        yield
        self.here.pop()


class Event:
    """torch.cuda.Event: known once the device has got there."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.at: float | None = None

    def record(self, *args: Any, **kwargs: Any) -> None:
        inspect.signature(torch.cuda.streams.Event.record).bind(self, *args, **kwargs)
        assert self.device.here == [torch.device("cuda", 1)], "recorded on the stream of another device"
        self.device.queue.append(("event", self))

    def elapsed_time(self, *args: Any, **kwargs: Any) -> float:
        [last] = inspect.signature(torch.cuda.streams.Event.elapsed_time).bind(self, *args, **kwargs).args[1:]
        if self.at is None or last.at is None:
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return float(last.at - self.at)


def test_a_gpus_laps_are_the_time_on_the_device_and_it_is_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    clock = clock_of(torch.device("cuda", 1))
    assert isinstance(clock, CudaClock)
    found = paired(lambda: device.start(3), lambda: device.start(4.5), clock, warmup=2, repeats=5)
    assert found.reference.tolist() == [3] * 5 and found.variant.tolist() == [4.5] * 5
    assert device.calls == ["synchronize", "synchronize"], "once after warming up, once before reading"
    assert device.now == 7 * (3 + 4.5)


def test_a_gpus_events_are_not_read_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    clock = CudaClock(torch.device("cuda", 1))
    clock.lap(lambda: device.start(3))
    with pytest.raises(RuntimeError, match="completed"):
        clock.laps[0][0].elapsed_time(clock.laps[0][1])
    assert clock.milliseconds().tolist() == [3] and clock.milliseconds().tolist() == []


def test_a_gpus_peak_is_taken_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    found = peak_of(lambda: device.calls.append("run"), torch.device("cuda", 1))
    assert device.calls == ["synchronize", "reset_peak_memory_stats", "run", "synchronize", "max_memory_allocated"]
    assert found == (12_000_000, "allocated on the device, weights included")


def test_the_compiler_is_called_without_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: seen.update(kwargs) or args[0])
    assert compile_step(abs) is abs  # type: ignore[arg-type,comparison-overlap]
    inspect.signature(real).bind(abs, **seen)
    assert "mode" not in seen and "options" not in seen
    assert not torch._inductor.list_mode_options("default").get("triton.cudagraphs", False)
    assert not torch._inductor.config.triton.cudagraphs
