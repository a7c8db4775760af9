"""Record of one section: rows are on disk as soon as they are measured, so a cut-off loses only what was running."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch


class Record:
    """Device and scale of a section, and the file that its results go to.

    Attributes:
        device: device under test.
        tiny: True to run everything at a size that takes seconds on a CPU; the numbers then mean nothing.
        seconds_left: seconds until the section is stopped.
    """

    def __init__(self, file: Path, device: str, *, tiny: bool, limit_s: float) -> None:
        self.file, self.tiny = file, tiny
        self.device = torch.device(device)
        self._end = time.monotonic() + limit_s

    @property
    def on_gpu(self) -> bool:
        """True if the device is a CUDA device."""
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        """Seconds until the section is stopped."""
        return self._end - time.monotonic()

    def row(self, table: str, **values: Any) -> None:
        """Add a row to a table of the section; floats that are not finite are written as text."""
        clean = {
            name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._write({"table": table, "values": clean})

    def check(self, what: str, value: float, at_most: float) -> None:
        """Add a row to the table of checks: ``value`` must not be above ``at_most``; NaN fails."""
        passed = bool(value <= at_most)
        self.row("checks", check=what, value=float(value), at_most=at_most, result="ok" if passed else "FAILED")

    def note(self, text: str) -> None:
        """Add a sentence to the section."""
        self._write({"note": text})

    def _write(self, entry: dict[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def synchronize(self) -> None:
        """Wait until the device has finished all work."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def start_peak(self) -> None:
        """Forget the peak of memory so far."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float | None:
        """Return the peak of allocated memory since :meth:`start_peak` in GiB; None on a CPU."""
        return round(torch.cuda.max_memory_allocated(self.device) / 2**30, 3) if self.on_gpu else None

    def seconds(self, work: Any, *, repeats: int = 1, warmup: int = 0) -> float:
        """Return the mean seconds of a call, all of its work on the device included."""
        for _ in range(warmup):
            work()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        self.synchronize()
        return (time.perf_counter() - start) / repeats
