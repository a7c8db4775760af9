"""Timing protocol: number and size of batches, and the conditions that two timings must share to be compared."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness import devices, provenance


@dataclass(frozen=True)
class Protocol:
    """Settings of one measurement (ELUDe paper, App. B.4).

    Attributes:
        batch_size: images per batch.
        warmup: number of untimed batches of each of the two networks.
        repeats: number of timed batches of each of the two networks, run in turns.
        compiled: also time the networks under ``torch.compile`` (without CUDA graphs).
        memory_passes: number of passes over which the peak of memory is measured.
    """

    batch_size: int
    warmup: int
    repeats: int
    compiled: bool
    memory_passes: int = 2


#: The paper's counts.
CUDA = Protocol(batch_size=256, warmup=100, repeats=500, compiled=True)
#: Short enough for two cores. There, compiling takes too long for what it shows. Many short pairs are better than few
#: long ones, because a disturbance of a CPU lasts about as long as a batch.
CPU = Protocol(batch_size=2, warmup=3, repeats=31, compiled=False)


_most_repeats: ContextVar[int | None] = ContextVar("most_repeats", default=None)


def protocol_of(device: torch.device) -> Protocol:
    """Return the protocol for a kind of device."""
    protocol = CUDA if device.type == "cuda" else CPU
    most = _most_repeats.get()
    if most is None or most >= protocol.repeats:
        return protocol
    return replace(protocol, repeats=most, warmup=min(protocol.warmup, most))


@contextlib.contextmanager
def shortened(repeats: int) -> Iterator[None]:
    """Time at most ``repeats`` pairs of batches within the context, to find out what a measurement costs."""
    token = _most_repeats.set(repeats)
    try:
        yield
    finally:
        _most_repeats.reset(token)


def conditions(device: torch.device, dtype: torch.dtype, protocol: Protocol) -> dict[str, Any]:
    """Return the conditions of a timing. Timings that differ in any of them are never ranked together."""
    values: dict[str, Any] = {
        "device": devices.device_name(str(device)),
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": protocol.batch_size,
        "warmup": protocol.warmup,
        "repeats": protocol.repeats,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device.type == "cpu":
        values["threads"] = torch.get_num_threads()
    return values


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return versions and the GPU driver, to be stored with the timings. They do not distinguish timings."""
    names = ("torch", "timm", "numba", "numpy")
    versions = {name: value for name, value in provenance.versions().items() if name in names}
    values: dict[str, Any] = {"versions": versions, "platform": platform.platform()}
    if device.type == "cuda":
        values |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "driver": _driver()}
    return values


def _driver() -> str | None:
    """Return the version of the GPU driver, or None if ``nvidia-smi`` fails or is missing."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0].strip() if lines else None
