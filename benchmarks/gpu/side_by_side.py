"""Steps of several configurations one after another and as batched matrices (docs/decisions/0020)."""

from __future__ import annotations

import torch
from side_by_side import Sizes, measured

from gpu.record import Record

TITLE = "Configurations of a sweep: one by one and as batched matrices, both as CUDA graphs"
ORDER = 5.5
LIMIT_S = 10

#: The paper's layer, and one at which a GPU has little to do per step.
SIZES = (Sizes(768, 6144, 4096, 4), Sizes(384, 3072, 1024, 4), Sizes(384, 3072, 1024, 9))


def run(record: Record) -> None:
    """Measure both sides at each size."""
    record.note(
        "Time of one step of all configurations. Ratios above 1: stacking is faster. The step is a ReLU autoencoder in "
        "plain PyTorch, in bfloat16 on a GPU."
    )
    dtype = torch.bfloat16 if record.device.type == "cuda" else torch.float32
    for sizes in [Sizes(16, 64, 32, 3)] if record.tiny else SIZES:
        separate, together, agree = measured(sizes, str(record.device), dtype, repeats=3 if record.tiny else 30)
        record.check(f"losses agree at {sizes.width} -> {sizes.units}", 0 if agree else 1, 0)
        record.row(
            "sizes",
            configurations=sizes.configurations,
            width=sizes.width,
            units=sizes.units,
            batch_size=sizes.batch_size,
            one_by_one_ms=1e3 * separate,
            stacked_ms=1e3 * together,
            ratio=separate / together,
        )
