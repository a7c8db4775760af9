"""Device of a run: the one asked for, its name, and how many worker processes the machine has room for."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from harness.errors import UserError


def device_name(device: str) -> str:
    """The device in words, e.g. ``cpu (Intel(R) Xeon(R) Processor)`` or ``cuda (NVIDIA H100 80GB HBM3)``."""
    if device.startswith("cuda"):
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device == "cpu":
        return f"cpu ({_processor()})"
    return device


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def best_device(wanted: str = "auto") -> str:
    """The device asked for; ``auto`` is the first GPU if there is one, else the CPU.

    Raises:
        UserError: for anything but cpu, cuda and cuda:N, or a GPU that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if count else "cpu"
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if wanted not in known:
        there = f"PyTorch sees {count} GPUs here" if count else "PyTorch sees no GPU here"
        raise UserError(f"--device {wanted}: {there}. Use --device {' or '.join(known)}.")
    return wanted


#: What a worker is given of the machine's memory: a gigabyte for torch and a backbone, the rest for tokens.
WORKER_BYTES = 4 << 30


def usual_workers(device: str) -> int:
    """One worker a core, as far as the memory goes; 1, which is no worker at all, where the device is no CPU."""
    if best_device(device) != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return cores
    return max(1, min(cores, memory // WORKER_BYTES))
