"""Milliseconds per training step of every SAE family at 768 -> 6144, beside overcomplete's ``train_sae``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sae_training

import methods
from gpu.record import Record

# The library's clock starts after the tokens are read and its module is built; ours is read after its first step.
TITLE = "Training: 768 -> 6144, batches of 4096 tokens, ours and overcomplete's train_sae"
ORDER = 5
LIMIT_S = 35

IN_TINY = ("topk_sae", "vanilla_sae")


def run(record: Record) -> None:
    """Train each family for two epochs of a few steps on both sides, after one epoch that compiles what is compiled."""
    width, n, batch, factor = (32, 512, 128, 2) if record.tiny else (768, 40_960, 4096, 8)
    device = str(record.device)
    with tempfile.TemporaryDirectory() as folder:
        tokens = sae_training.synthetic_tokens(Path(folder), n, width)
        for name in IN_TINY if record.tiny else sae_training.FAMILIES:
            config = {"expansion_factor": factor, "epochs": 2, "batch_size": batch}
            config |= sae_training.LIKE_THE_LIBRARY.get(name, {})
            sae_training.our_side(name, config | {"epochs": 1}, tokens, 0, device)
            record.start_peak()
            default = sae_training.our_side(name, config, tokens, 0, device)
            peak = record.peak_gib()
            # train_sae computes in float32; on a GPU our default is bfloat16.
            ours = sae_training.our_side(name, config | {"precision": "float32"}, tokens, 0, device)
            theirs = sae_training.library_side(name, methods.create(name, **config).config, tokens, 0, device)
            record.row(
                "families",
                family=name,
                ours_float32_ms=1e3 * ours.seconds_of_a_step,
                library_float32_ms=1e3 * theirs.seconds_of_a_step,
                library_to_ours=theirs.seconds_of_a_step / ours.seconds_of_a_step,
                ours_default_ms=1e3 * default.seconds_of_a_step,
                default_tokens_per_second=batch / default.seconds_of_a_step,
                setup_seconds=default.seconds_per_step * 2 * (n // batch)
                - default.seconds_of_a_step * 2 * (n // batch),
                ours_r2=ours.r2,
                library_r2=theirs.r2,
                peak_gib=peak,
            )
