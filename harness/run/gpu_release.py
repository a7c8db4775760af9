"""Release of the memory of GPUs that a run holds, before judges load models there."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Sequence

import torch

from harness.cells.plan import PreparedTarget
from harness.executors.base import Executor
from harness.progress import Reporter
from results.byte_sizes import size_text

#: Bytes that may stay in use without a word: an engine leaves more than this of a GPU unused.
UNNOTICED = 2**28


def release_gpus(prepared: Sequence[PreparedTarget], executor: Executor, reporter: Reporter) -> None:
    """Give back what this run holds of the GPUs: idle workers, backbones with their text towers, and torch's caches.

    Nothing can be computed with the targets afterwards. The backbones are moved to the CPU, so that it does not matter
    who else refers to them. The CUDA context of this process, some hundred MB, stays until it ends. What else is in use
    is reported.
    """
    executor.release()
    for target in prepared:
        # Heads and backbones may be a plugin's, and one that refuses must not keep the judges from trying.
        with contextlib.suppress(Exception):
            target.head.release()
        target.backbone.text_tower = None
        with contextlib.suppress(Exception):
            target.backbone.model.to("cpu")
    gc.collect()
    if not torch.cuda.is_initialized():
        return
    if hasattr(torch._C, "_cuda_clearCublasWorkspaces"):
        torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    used = {number: torch.cuda.memory_allocated(number) for number in range(torch.cuda.device_count())}
    for number, size in used.items():
        if size > UNNOTICED:
            reporter.say(f"This process still uses {size_text(size)} of GPU {number}, which the judges cannot use.")
