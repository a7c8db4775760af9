"""Timing of two networks in turns, so that a disturbance of the machine affects both."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from methods.base import Progress, no_progress

Step = Callable[[], object]


class Clock(Protocol):
    """Clock that times steps. It is read once, at the end, so that nothing waits for a GPU between steps."""

    def lap(self, step: Step) -> None:
        """Run and time one step."""

    def synchronise(self) -> None:
        """Wait until all started work is done."""

    def milliseconds(self) -> np.ndarray:
        """Return all laps since the last call, in order: (n,) float64."""


class MonotonicClock:
    """Monotonic clock of the CPU; ``now`` returns the time in seconds."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.laps: list[float] = []

    def lap(self, step: Step) -> None:
        started = self.now()
        step()
        self.laps.append(1e3 * (self.now() - started))

    def synchronise(self) -> None:
        pass

    def milliseconds(self) -> np.ndarray:
        times, self.laps = np.array(self.laps), []
        return times


class CudaClock:
    """Clock of a GPU: CUDA events around every step, and one synchronisation when they are read."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: list[tuple[Any, Any]] = []

    def lap(self, step: Step) -> None:
        with torch.cuda.device(self.device):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            step()
            last.record()
        self.laps.append((first, last))

    def synchronise(self) -> None:
        torch.cuda.synchronize(self.device)

    def milliseconds(self) -> np.ndarray:
        self.synchronise()
        times, self.laps = np.array([first.elapsed_time(last) for first, last in self.laps]), []
        return times


def clock_of(device: torch.device) -> Clock:
    """Return the clock for a device: CUDA events on a GPU, the monotonic clock otherwise."""
    return CudaClock(device) if device.type == "cuda" else MonotonicClock()


class Paired(NamedTuple):
    """Times of two networks, pair by pair."""

    reference: np.ndarray
    """(n,) milliseconds per batch"""
    variant: np.ndarray
    """(n,) milliseconds per batch, each directly before or after the reference of the same index"""


def paired(
    reference: Step, variant: Step, clock: Clock, *, warmup: int, repeats: int, progress: Progress = no_progress
) -> Paired:
    """Time ``repeats`` pairs of two steps in turns: reference, variant, variant, reference, reference, variant, ...

    Each comes first in every other pair, so that neither gains from its position, nor from a machine that slows down
    steadily. ``warmup`` pairs are run before and not timed. ``progress`` is called after each timed pair.
    """
    for _ in range(warmup):
        reference()
        variant()
    clock.synchronise()
    for done in range(repeats):
        for step in (reference, variant) if done % 2 == 0 else (variant, reference):
            clock.lap(step)
        progress(done + 1, repeats, "pairs of batches")
    pairs = clock.milliseconds().reshape(repeats, 2)
    # Every second pair ran in the opposite order.
    pairs[1::2] = pairs[1::2, ::-1].copy()
    return Paired(pairs[:, 0], pairs[:, 1])
