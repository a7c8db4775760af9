"""Device selection, device names, and the default number of worker processes."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from harness.errors import UserError


def device_name(device: str) -> str:
    """Return device and model, e.g. ``cpu (Intel(R) Xeon(R) Processor)`` or ``cuda (NVIDIA H100 80GB HBM3)``."""
    if device.startswith("cuda"):
        import torch

        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device == "cpu":
        return f"cpu ({processor_name()})"
    return device


def processor_name() -> str:
    """Return the model name of the CPU."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_info() -> dict[str, str]:
    """Return the entries of the first CPU in ``/proc/cpuinfo``; empty on systems without it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def gpu_count() -> int:
    """Return the number of GPUs that PyTorch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def core_count() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matched_at_once(n_pairs: int, cores: int | None = None) -> int:
    """Return the number of pairs of dictionaries that are matched at the same time, a thread per pair.

    At most four: each needs memory for the cosines of all pairs of its units, 300 MB for 6144 units.
    """
    return max(1, min(n_pairs, core_count() if cores is None else cores, 4))


def require_device_name(requested: str) -> None:
    """Check the form of a device name. :func:`best_device` checks that this machine has the device, and imports torch.

    Raises:
        UserError: if it is not ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", requested):
        raise UserError(f"--device {requested} is not available: use auto, cpu, cuda or cuda:N.")


def best_device(requested: str = "auto") -> str:
    """Return the requested device; ``auto`` is the first GPU if there is one, else the CPU.

    Raises:
        UserError: if the device is not ``cpu``, ``cuda`` or ``cuda:N``, or the GPU does not exist.
    """
    count = gpu_count()
    if requested == "auto":
        return "cuda" if count else "cpu"
    available = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if requested not in available:
        visible_gpus = f"PyTorch sees {count} GPUs" if count else "PyTorch sees no GPU"
        raise UserError(
            f"--device {requested} is not available: {visible_gpus}. Use --device {' or '.join(available)}."
        )
    return requested


#: Memory reserved per worker: one gigabyte for torch and a backbone, the rest for tokens.
WORKER_BYTES = 4 << 30


def default_workers(device: str) -> int:
    """Return the default number of workers: one per core, limited by memory; 1 if the device is not a CPU."""
    if best_device(device) != "cpu":
        return 1
    cores = core_count()
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return cores
    return max(1, min(cores, memory // WORKER_BYTES))
