"""Peak of memory during a few passes."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

#: Default time between two samples in seconds.
SAMPLE_EVERY = 0.001


class Peak(NamedTuple):
    """Peak of memory."""

    bytes: int | None
    """None if this system does not report it"""
    kind: str
    """description of the measured quantity"""


def peak_of(
    run: Callable[[], object], device: torch.device, *, collect: bool = True, sample_every: float = SAMPLE_EVERY
) -> Peak:
    """Measure the peak of memory while ``run`` runs.

    On a GPU, this is all memory allocated on the device, weights included, after a reset of the peak. On a CPU, this is
    the resident memory above the level before the run, so it excludes the weights. Memory that Python and the
    allocator have freed is first returned to the system: a pass that reused it would seem to need less.

    Args:
        collect: collect Python's garbage first, which takes a third of a second in a large process.
        sample_every: seconds between two samples, on a kernel without a peak that can be reset.
    """
    if collect:
        gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return Peak(torch.cuda.max_memory_allocated(device), "allocated on the device, weights included")
    _trim()
    before = _resident("VmRSS")
    if before is None:
        run()
        return Peak(None, "not measured: this system has no /proc/self/status")
    if _reset():
        run()
        peak, kind = _resident("VmHWM"), "resident above what was before (the kernel's peak after a reset)"
    else:
        peak, period = _sampled(run, sample_every), f"{1000 * sample_every:g} ms"
        kind = f"resident above what was before (sampled every {period})"
    return Peak(max(0, (peak or 0) - before), kind)


def _resident(field: str) -> int | None:
    """Return one field of the process status in bytes, or None if the system does not have it."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(field + ":"):
                return 1024 * int(line.split()[1])
    return None


def _reset() -> bool:
    """Reset the kernel's peak of resident memory to the current level, and return True if that worked."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    before, peak = _resident("VmRSS"), _resident("VmHWM")
    # Some sandboxes accept the write without an effect.
    return before is not None and peak is not None and peak - before < 8 << 20


def _trim() -> None:
    """Return freed memory to the system, if the C library has ``malloc_trim``."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _sampled(run: Callable[[], object], every: float) -> int:
    """Return the largest resident memory in bytes, sampled each ``every`` seconds while ``run`` runs."""
    samples = [_resident("VmRSS") or 0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every):
            samples.append(_resident("VmRSS") or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
        samples.append(_resident("VmRSS") or 0)
    finally:
        done.set()
        watcher.join()
    return max(samples)
