"""How many batches of which size are timed, and on what: everything that two timings must share to be compared."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from typing import Any

import torch

from harness import devices, provenance


@dataclass(frozen=True)
class Protocol:
    """Settings of one measurement (ELUDe paper, App. B.4).

    Attributes:
        batch_size: images a batch.
        warmup: untimed batches of each of the two networks.
        repeats: timed batches of each of the two networks, taken in turns.
        compiled: time the networks under ``torch.compile`` (without CUDA graphs) as well.
        memory_passes: passes over which the peak of memory is taken.
    """

    batch_size: int
    warmup: int
    repeats: int
    compiled: bool
    memory_passes: int = 2


#: The paper's counts.
CUDA = Protocol(batch_size=256, warmup=100, repeats=500, compiled=True)
#: Short enough for two cores; compiling takes longer there than what it would tell. Many short pairs rather than few
#: long ones: what disturbs a processor lasts about as long as a batch.
CPU = Protocol(batch_size=2, warmup=3, repeats=31, compiled=False)


def protocol_of(device: torch.device) -> Protocol:
    """The protocol of a kind of device."""
    return CUDA if device.type == "cuda" else CPU


def conditions(device: torch.device, dtype: torch.dtype, protocol: Protocol) -> dict[str, Any]:
    """What tells timings apart: those that differ in any of it are never ranked together."""
    found: dict[str, Any] = {
        "device": devices.device_name(str(device)),
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": protocol.batch_size,
        "warmup": protocol.warmup,
        "repeats": protocol.repeats,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device.type == "cpu":
        found["threads"] = torch.get_num_threads()
    return found


def circumstances(device: torch.device) -> dict[str, Any]:
    """Versions and driver, as evidence beside the numbers."""
    names = ("torch", "timm", "numba", "numpy")
    versions = {name: value for name, value in provenance.versions().items() if name in names}
    found: dict[str, Any] = {"versions": versions, "platform": platform.platform()}
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "driver": _driver()}
    return found


def _driver() -> str | None:
    """Version of the GPU driver; None where its tool is missing."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0].strip() if lines else None
