"""Memory of a device, and the check that a fit can have what it needs at least."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from methods.errors import ArgumentError
from results.byte_sizes import size_text

if TYPE_CHECKING:
    from methods.base import Device, LinearSite, Method, MethodConfig


def memory_of(device: Device) -> int | None:
    """Return the bytes of memory of a device, whether in use or not; None if they are not known."""
    chosen = torch.device(device)
    if chosen.type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(chosen).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def free_memory(device: Device) -> int | None:
    """Return the bytes of memory of a device that this process may take now; None if they are not known.

    On a GPU, that is the memory that no process uses, and what torch holds without using it. On a CPU, it is the
    available memory, within the limits of the process's control groups, in proportion to the threads that the process
    uses: a worker with one of four cores may take a quarter, since the other workers take theirs.
    """
    chosen = torch.device(device)
    if chosen.type == "cuda" and torch.cuda.is_available():
        unused = torch.cuda.memory_reserved(chosen) - torch.cuda.memory_allocated(chosen)
        return int(torch.cuda.mem_get_info(chosen)[0]) + int(unused)
    limits = [_available_memory(), *(_group_memory(group) for group in _control_groups())]
    available = min((limit for limit in limits if limit is not None), default=None)
    if available is None:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return available * min(torch.get_num_threads(), cores) // cores


def _available_memory() -> int | None:
    """Return the bytes that Linux can give to programs without swapping; None on other systems."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(Path("/proc/meminfo")), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _control_groups(root: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    """Return the folder of this process's control group (version 2) and those above it; each may have a limit."""
    match = re.search(r"^0::/(.*)$", _text(Path("/proc/self/cgroup")), re.MULTILINE)
    group = root / match[1] if match else root
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]


def _group_memory(group: Path) -> int | None:
    """Return the bytes left to a control group, with what it could release of the file cache; None without a limit."""
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if not (limit.isdecimal() and used.isdecimal()):
        return None
    cached = re.search(r"^inactive_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0))


def _text(file: Path) -> str:
    """Return the text of a small file of the system; empty if it cannot be read."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


#: torch's errors on a CPU, and of CUDA libraries, are plain RuntimeErrors.
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error says that a device had not enough memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or says_out_of_memory(str(error))


def says_out_of_memory(message: str) -> bool:
    """Return True if the text of an error says that a device had not enough memory."""
    return _NO_MEMORY.search(message) is not None


def least_memory_of(method: type[Method], config: MethodConfig, d_in: int, d_out: int) -> int:
    """Return the bytes that a fit of a method needs at least.

    Raises:
        ArgumentError: if the method returns something else.
    """
    needed: object = method.least_memory(config, d_in, d_out)
    if isinstance(needed, bool) or not isinstance(needed, int):
        raise ArgumentError(
            f"{method.spec.name}.least_memory() returns a {type(needed).__name__}; it must return a whole number of "
            "bytes."
        )
    return needed


def require_memory(method: Method, site: LinearSite, device: Device) -> None:
    """Check that a fit needs no more memory than the device has.

    Raises:
        ArgumentError: if it needs more; without this check, the operating system would end the process.
    """
    needed = least_memory_of(type(method), method.config, site.d_in, site.d_out)
    # Most fits need little, and asking the device takes time.
    if needed < 2**28 or (memory := memory_of(device)) is None or needed <= memory:
        return
    raise ArgumentError(
        f"{method.spec.name} needs at least {size_text(needed)} of memory with these settings on a layer of "
        f"{site.d_in} inputs and {site.d_out} outputs, and the device {device} has {size_text(memory)}: lower the "
        "number of units."
    )
