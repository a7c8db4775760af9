"""Parallel processing of neurons: a lane is a thread with its own device and, on a GPU, its own stream of work.

In one stream, a lane that waits for its number would wait for all that another lane has queued before it. Results do
not depend on the number of lanes.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import NamedTuple, TypeVar

import torch

from methods import numerics
from methods.base import Device
from methods.memory import free_memory

T = TypeVar("T")
R = TypeVar("R")

# Memory that all lanes of a CPU may use together; a neuron of the paper's size gets the whole machine instead.
LANE_MEMORY = 2 << 30
# On a GPU a second lane reads and normalises the next neuron's inputs while the first one computes.
LANES_A_GPU = 2
# A quarter of a GPU is left for distances.
GPU_SHARE = 0.75


def plan_lanes(device: Device, workers: int | None, unit_bytes: int) -> list[torch.device]:
    """Return the device of each lane.

    Args:
        device: "cuda" without a number means all GPUs visible to PyTorch.
        workers: number of lanes, distributed over the devices in turn. None: two per GPU, or one if two neurons would
            take more than :data:`GPU_SHARE` of its free memory; on a CPU one for each thread of torch if that many
            neurons of ``unit_bytes`` fit in 2 GiB, otherwise as many as fit, at least one.
        unit_bytes: memory of a neuron's points and distances on a CPU. A GPU takes twice as much, since it also holds
            the parts of the points that its tensor cores multiply.
    """
    chosen = torch.device(device)
    if chosen.type != "cuda":
        # The exact clustering needs float64, which other accelerators do not support.
        fitting = max(1, min(torch.get_num_threads(), LANE_MEMORY // max(1, unit_bytes)))
        return [torch.device("cpu")] * (workers or fitting)
    count = torch.cuda.device_count() if chosen.index is None else 1
    devices = [torch.device("cuda", i) for i in range(count)] if chosen.index is None else [chosen]
    free = min((memory for device in devices if (memory := free_memory(device)) is not None), default=None)
    fit = free is None or LANES_A_GPU * 2 * unit_bytes <= GPU_SHARE * free
    return [devices[i % count] for i in range(workers or (LANES_A_GPU if fit else 1) * count)]


class Lane(NamedTuple):
    """Device of a lane, and on a GPU the streams of the lane and of the caller."""

    device: torch.device
    stream: torch.cuda.Stream | None
    callers: torch.cuda.Stream | None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Queue the work of this thread on the lane's stream: after the caller's work so far, before its later work."""
        if self.stream is None or self.callers is None:
            yield
            return
        self.stream.wait_stream(self.callers)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            self.callers.wait_stream(self.stream)


def with_streams(devices: Sequence[torch.device]) -> list[Lane]:
    """Return a lane for each device, a GPU's lanes with one stream each."""
    lanes = []
    for number, device in enumerate(devices):
        if device.type == "cuda":
            earlier = devices[:number].count(device)
            lanes.append(Lane(device, lane_stream(device, earlier), torch.cuda.current_stream(device)))
        else:
            lanes.append(Lane(device, None, None))
    return lanes


@functools.cache
def lane_stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """Return the stream of a GPU's lane of this number.

    All fits use the same ones, since torch keeps memory for each stream, and cuBLAS a workspace.
    """
    return torch.cuda.Stream(device)


def side_by_side(
    work: Callable[[T, torch.device], R], items: Iterator[T], lanes: Sequence[torch.device]
) -> Iterator[R]:
    """Yield ``work(item, device)`` of all items, in the order in which they finish.

    Lanes on a CPU share torch's threads. Items are taken from the iterator as lanes become free, in the caller's
    thread. An error in a lane is raised here, after the neurons in flight are finished.

    Several lanes on a GPU have a stream each. Tensors that ``work`` shares with the caller stay alive until the end;
    those that it returns are on the CPU, since the memory of others belongs to the lane's stream.
    """
    if len(lanes) == 1:
        for item in items:
            yield work(item, lanes[0])
        return
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in with_streams(lanes):
        free.put(lane)
    # More threads than cores wait for each other at every barrier: two lanes of two threads on two cores are slower
    # than one. The caller's thread takes the same number, so that what it computes does not depend on when lanes start.
    on_cpu = lanes[0].type == "cpu"
    lane_threads = max(1, torch.get_num_threads() // len(lanes)) if on_cpu else torch.get_num_threads()

    def work_on_free_lane(item: T) -> R:
        lane = free.get()
        try:
            with lane.entered():
                return work(item, lane.device)
        finally:
            free.put(lane)

    with (
        numerics.threads(lane_threads),
        ThreadPoolExecutor(len(lanes), initializer=numerics.set_threads, initargs=(lane_threads,)) as pool,
    ):
        running: set[Future[R]] = set()
        try:
            for item in items:
                running.add(pool.submit(contextvars.copy_context().run, work_on_free_lane, item))
                # One more item than there are lanes, so that no lane waits for the caller.
                if len(running) > len(lanes):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in as_completed(running))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
