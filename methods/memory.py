"""Memory of a device, and the check that a fit can have what it needs at least."""

from __future__ import annotations

import os
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
