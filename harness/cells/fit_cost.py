"""Cost of a fit: its time, and its peak of memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from harness import devices
from harness.efficiency.memory import peak_of
from methods.base import Device
from results import ScoreRecord

#: Peak of memory of the fit; recorded with its evidence, so that cells that load the fit have it too.
FIT_MEMORY = "fit_peak_memory"
#: 2: with the freed memory that :func:`methods.allocator.kept_memory` keeps during a fit on a CPU.
FIT_MEMORY_VERSION = 2

#: Seconds between two samples of resident memory, if the kernel's peak cannot be reset: each one takes the
#: interpreter's lock, so more frequent ones would slow the fit.
SAMPLE_EVERY = 0.02


class FitCost(NamedTuple):
    """Time and memory of one fit."""

    seconds: float
    """of the fit alone, without what is done to measure its memory"""
    memory: int | None
    """bytes; None if this system does not report them"""
    kind: str
    """description of the measured quantity"""
    device: str
    """name of the device of the fit"""

    def record(self, *, alone: bool) -> ScoreRecord | None:
        """Return the peak of memory as a score of the cell; None if there is none.

        Args:
            alone: False if another fit ran in this process at the same time: the peak is then of both, and left out.
        """
        if self.memory is None or not alone:
            return None
        return ScoreRecord(
            metric=FIT_MEMORY,
            version=FIT_MEMORY_VERSION,
            value=self.memory / 1e6,
            n=1,
            unit="MB",
            direction="lower",
            details={"kind": self.kind, "device": self.device},
        )


def cost_of(fit: Callable[[], object], device: Device) -> FitCost:
    """Run a fit and return its cost.

    Memory is what the fit needs above the level before it: on a GPU, what torch allocates on the device (not what other
    libraries do, and not the memory of the CPU); on a CPU, the resident memory of the process, mapped files included.
    """
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        started = time.perf_counter()
        fit()
        seconds = time.perf_counter() - started

    used = torch.device(device)
    if used.type == "cuda":
        # What an earlier cell left on the device would otherwise be freed during the fit, and hide a part of its peak.
        gc.collect()
        before = torch.cuda.memory_allocated(used)
        peak = peak_of(run, used, collect=False)
        memory = None if peak.bytes is None else max(0, peak.bytes - before)
        kind = "allocated by torch on the device above what was before"
    else:
        memory, kind = peak_of(run, used, collect=False, sample_every=SAMPLE_EVERY)
    return FitCost(seconds, memory, kind, devices.device_name(str(device)))
