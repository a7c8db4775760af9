"""Lanes on a GPU: a stream each, and turns. Streams are made-up ones that record what is asked of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from in_memory import small_layer

import methods
from methods.elude import hierarchy, lanes, tiled, turns
from methods.elude.clustering import cluster
from methods.elude.forest import Forest
from methods.elude.inputs import Inputs
from methods.elude.lanes import side_by_side
from methods.elude.tiles import Tiles
from methods.elude.turns import turn_on

GPU = torch.device("cuda", 0)
OTHER = torch.device("cuda", 1)
CPU = torch.device("cpu")
SECONDS = 20.0


class Stream:
    """Stream of a device that records its waits in the log of all."""

    def __init__(self, log: list[tuple[object, ...]], device: torch.device, name: str | None = None) -> None:
        self.log, self.device, self.name = log, device, name

    def wait_stream(self, other: Stream) -> None:
        self.log.append(("wait", self, other))


class Streams:
    """Stand-in for the part of ``torch.cuda`` that lanes use, with a log of the calls in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[object, ...]] = []
        self.callers = {device: Stream(self.log, device, f"caller's of {device}") for device in (GPU, OTHER)}
        self.made: list[Stream] = []
        self._current = threading.local()
        monkeypatch.setattr(torch.cuda, "Stream", self._make)
        monkeypatch.setattr(torch.cuda, "stream", self._enter)
        monkeypatch.setattr(torch.cuda, "current_stream", self.current)
        lanes.lane_stream.cache_clear()

    def _make(self, device: torch.device) -> Stream:
        self.made.append(Stream(self.log, device))
        return self.made[-1]

    @contextlib.contextmanager
    def _enter(self, stream: Stream) -> Iterator[None]:
        before = getattr(self._current, "stream", None)
        self._current.stream = stream
        try:
            yield
        finally:
            self._current.stream = before

    def current(self, device: torch.device) -> Stream:
        stream: Stream | None = getattr(self._current, "stream", None)
        return self.callers[device] if stream is None else stream


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    yield Streams(monkeypatch)
    lanes.lane_stream.cache_clear()


@pytest.mark.parametrize("devices", [[GPU, GPU], [GPU, OTHER], [GPU, OTHER, GPU, OTHER]])
def test_each_lane_of_a_gpu_works_in_its_own_stream(streams: Streams, devices: list[torch.device]) -> None:
    together = threading.Barrier(len(devices), timeout=SECONDS)

    def work(item: int, device: torch.device) -> tuple[int, Stream]:
        if item < len(devices):
            # All lanes are in work at once, so none can take another's stream.
            together.wait()
        stream = streams.current(device)
        assert stream.device == device
        streams.log.append(("work", item, stream))
        return item, stream

    results = list(side_by_side(work, iter(range(9)), devices))  # type: ignore[arg-type]
    assert sorted(item for item, _ in results) == list(range(9))
    assert len(streams.made) == len({id(stream) for _, stream in results}) == len(devices)
    for stream in streams.made:
        events = [event for event in streams.log if stream in event]
        before, work_events, after = events[0::3], events[1::3], events[2::3]
        home = streams.callers[stream.device]
        assert len(before) == len(work_events) == len(after) >= 1
        # The caller's tensors are complete before a lane reads them, and the lane's before the caller does.
        assert before == [("wait", stream, home)] * len(before)
        assert all(event[0] == "work" for event in work_events)
        assert after == [("wait", home, stream)] * len(after)


def test_the_next_fit_uses_the_same_streams(streams: Streams) -> None:
    """Torch keeps memory for each stream."""
    for _ in range(3):
        list(side_by_side(lambda item, device: item, iter(range(4)), [GPU, GPU]))
    assert len(streams.made) == 2
    list(side_by_side(lambda item, device: item, iter(range(4)), [GPU, GPU, GPU, OTHER]))
    assert [stream.device for stream in streams.made] == [GPU, GPU, GPU, OTHER]


def test_the_caller_waits_for_a_lane_that_fails(streams: Streams) -> None:
    def work(item: int, device: torch.device) -> int:
        raise ValueError("not divided")

    with pytest.raises(ValueError, match="not divided"):
        list(side_by_side(work, iter([0]), [GPU, GPU]))
    [stream] = {event[1] for event in streams.log if event[2] is streams.callers[GPU]}
    assert streams.log == [("wait", stream, streams.callers[GPU]), ("wait", streams.callers[GPU], stream)]


@pytest.mark.parametrize("devices", [[GPU], [CPU], [CPU, CPU]])
def test_one_lane_and_lanes_of_a_cpu_need_no_stream(streams: Streams, devices: list[torch.device]) -> None:
    assert sorted(side_by_side(lambda item, device: item, iter(range(4)), devices)) == [0, 1, 2, 3]
    assert not streams.made and not streams.log


def test_memory_of_the_copied_inputs_is_kept_for_the_lanes_that_read_it(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch would give the memory of a freed copy to the caller's stream, while a lane may still read it."""
    readers: list[Stream] = []

    class Copy:
        def record_stream(self, stream: Stream) -> None:
            readers.append(stream)

        def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(rows), 2)

    inputs = Inputs(small_layer()[1], [], 0)
    inputs._copies[GPU] = Copy()  # type: ignore[assignment]
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_: self)
    both = threading.Barrier(2, timeout=SECONDS)

    def work(item: int, device: torch.device) -> int:
        both.wait()
        return len(inputs.gather(np.arange(3), device))

    assert list(side_by_side(work, iter(range(2)), [GPU, GPU])) == [3, 3]
    assert len(readers) == 2 and {id(stream) for stream in readers} == {id(stream) for stream in streams.made}


# ---- turns


def test_one_lane_at_a_time_has_a_gpu() -> None:
    entered, tried, done = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        tried.set()
        with turn_on(GPU):
            entered.set()
        done.wait(SECONDS)

    thread = threading.Thread(target=second)
    with turn_on(GPU):
        thread.start()
        assert tried.wait(SECONDS) and not entered.wait(0.05)
        # Another GPU, and a CPU, which has no turns.
        with turn_on(OTHER), turn_on(CPU), turn_on(CPU):
            pass
    # The first lane is at its tree, and the second one at the GPU.
    assert entered.wait(SECONDS)
    done.set()
    thread.join()


def test_a_turn_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="too large"), turn_on(GPU):
        raise ValueError("too large")
    lock = turns._turns[GPU]
    assert lock.acquire(blocking=False)
    lock.release()


def test_distances_are_computed_in_a_turn_and_the_tree_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[bool] = []
    calls: list[tuple[str, bool]] = []

    @contextlib.contextmanager
    def turn(device: torch.device) -> Iterator[None]:
        assert not inside
        inside.append(True)
        yield
        inside.clear()

    monkeypatch.setattr(tiled, "turn_on", turn)
    for owner, name in ((Tiles, "strip"), (Tiles, "exact"), (Forest, "tree"), (hierarchy, "prim_order")):

        def recorded(*args: object, name: str = name, plain: object = getattr(owner, name)) -> object:
            calls.append((name, bool(inside)))
            return plain(*args)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, recorded)
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    cluster(x, min_cluster_size=10, memory_bytes=1 << 16)
    assert set(calls) == {("strip", True), ("exact", True), ("tree", False), ("prim_order", False)}


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: streams were made-up ones")
def test_two_lanes_split_as_one_does_on_a_gpu() -> None:
    site, tokens = small_layer(2000, 64, 24)
    settings = {"top_k": 1500, "min_cluster_size": 40}
    one, two, four = (
        methods.create("elude", **settings).fit(tokens, site, device="cuda:0", workers=workers) for workers in (1, 2, 4)
    )
    assert one.n_units > site.d_out, "without a split neuron the test shows nothing"
    for name in one.fitted:
        for other in (two, four):
            assert torch.equal(getattr(one, name).nan_to_num(-1), getattr(other, name).nan_to_num(-1)), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: streams were made-up ones")
def test_a_lane_on_a_gpu_sees_what_the_caller_has_queued_and_does_not_wait_for_another_lane() -> None:
    ready, read = threading.Event(), threading.Event()
    matrix = torch.full((8192, 8192), 1.0 / 8192, device=GPU)
    shared = torch.ones(8192, 8192, device=GPU)
    for _ in range(20):
        shared = shared @ matrix  # queued, and not complete when the lanes begin

    def work(item: int, device: torch.device) -> float:
        assert torch.cuda.current_stream(device) != torch.cuda.default_stream(device)
        if item == 0:
            assert float(shared[0, 0]) == 1.0
            long = shared
            for _ in range(100):
                long = long @ matrix
            end = torch.cuda.current_stream(device).record_event()
            ready.set()
            assert read.wait(SECONDS)
            # The other lane read its number before this one's products were done.
            return float(end.query())
        assert ready.wait(SECONDS)
        value = float(torch.full((), 2.0, device=device))
        read.set()
        return value

    assert sorted(side_by_side(work, iter(range(2)), [GPU, GPU])) == [0.0, 2.0]
