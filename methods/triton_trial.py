"""Kernels in Triton: their trial before the first use, and their launch.

PyTorch's builds for GPUs bring Triton along. Where its kernels fail, PyTorch's operations have the same results.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

K = TypeVar("K")

#: Triton compiles a kernel when it first runs; two threads must not do so at the same time.
_launching = threading.Lock()


@contextlib.contextmanager
def launching(tensor: torch.Tensor) -> Iterator[None]:
    """Return the context in which Triton runs a kernel on the tensor's GPU."""
    on_device = torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else contextlib.nullcontext()
    with _launching, on_device:
        yield


def working(load: Callable[[], K], trial: Callable[[K], dict[str, bool]], instead: str) -> K | None:
    """Return the kernels if each gives the right result; else warn and return None.

    Args:
        load: imports the programs and returns the kernels.
        trial: runs every kernel on small data, and returns by name if its result is right. A version of Triton may
            compile one and fail on another in the middle of a fit.
        instead: what is done without them, for the warning.
    """
    try:
        kernels = load()
        wrong = [name for name, right in trial(kernels).items() if not right]
        reason = f"wrong results of {', '.join(wrong)}" if wrong else ""
    # Triton compiles for the GPU at hand with the machine's C compiler, and each step can fail in its own way.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason:
        warnings.warn(f"Triton fails on this GPU ({reason}), so {instead}, which are slower.", stacklevel=3)
        return None
    return kernels
