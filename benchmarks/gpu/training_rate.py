"""Milliseconds per training step of every SAE family at 768 -> 6144, beside overcomplete's ``train_sae``."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sae_training

import methods
from gpu.record import Record
from harness.activations.token_set import TokenSet
from methods.training import graphs

TITLE = "Training: 768 -> 6144, batches of 4096 tokens, ours and overcomplete's train_sae"
ORDER = 5
LIMIT_S = 50

IN_TINY = ("topk_sae", "vanilla_sae", "matching_pursuit_sae")


def run(record: Record) -> None:
    """Train each family on both sides, for two epochs of a few steps."""
    record.note(
        "Milliseconds are those of the steps after the first, after one epoch on the same side to load and compile "
        "what it needs. Our tokens are on the device if they fit; the library's loop copies each batch from the CPU, "
        "and waits for the device in each step. R2 is that after two short epochs, far from convergence: our encoders "
        "start from the decoder's rows, the library's from a random draw. Steps are computed one operation at a time "
        "(eager), but for the column of the CUDA graph. Both columns of the default precision have the time between "
        "the ends of the first and the last of three epochs: the step is recorded in the first one."
    )
    width, n, batch, factor = (32, 512, 128, 2) if record.tiny else (768, 40_960, 4096, 8)
    with tempfile.TemporaryDirectory() as folder:
        tokens = sae_training.synthetic_tokens(Path(folder), n, width)
        for name in IN_TINY if record.tiny else sae_training.FAMILIES:
            config = {"expansion_factor": factor, "epochs": 2, "batch_size": batch}
            config |= sae_training.LIKE_THE_LIBRARY.get(name, {})
            try:
                family(record, name, config, tokens, steps=2 * (n // batch))
            except Exception as error:
                record.check(f"{name}: raised {type(error).__name__}: {str(error)[:300]}", 1, 0)


def family(record: Record, name: str, config: dict[str, Any], tokens: TokenSet, steps: int) -> None:
    """Train one family with our default precision, in float32, and with the library, each after a warm-up."""
    device, short = str(record.device), {"epochs": 1}
    with patch.dict(os.environ, {graphs.VARIABLE: graphs.OFF}):
        sae_training.our_side(name, config | short, tokens, 0, device)
        record.start_peak()
        eager, _ = rate(name, config | {"epochs": 3}, tokens, device)
        peak = record.peak_gib()
        # train_sae computes in float32; on a GPU our default is bfloat16.
        in_float32 = config | {"precision": "float32"}
        sae_training.our_side(name, in_float32 | short, tokens, 0, device)
        ours = sae_training.our_side(name, in_float32, tokens, 0, device)
    record.start_peak()
    graph, notes = rate(name, config | {"epochs": 3}, tokens, device)
    graph_peak = record.peak_gib()
    theirs, failure = None, None
    try:
        sae_training.library_side(name, methods.create(name, **config | short).config, tokens, 0, device)
        theirs = sae_training.library_side(name, methods.create(name, **config).config, tokens, 0, device)
    except Exception as error:
        failure = f"failed: {type(error).__name__}: {str(error)[:200]}"
    record.row(
        "families",
        family=name,
        ours_float32_ms=1e3 * ours.seconds_of_a_step,
        library_float32_ms=failure if theirs is None else 1e3 * theirs.seconds_of_a_step,
        library_to_ours=None if theirs is None else theirs.seconds_of_a_step / ours.seconds_of_a_step,
        default_eager_ms=1e3 * eager,
        default_graph_ms=1e3 * graph,
        eager_to_graph=eager / graph,
        graph_tokens_per_second=config["batch_size"] / graph,
        setup_seconds=(ours.seconds_per_step - ours.seconds_of_a_step) * steps,
        ours_r2=ours.r2,
        library_r2=None if theirs is None else theirs.r2,
        peak_gib=peak,
        graph_peak_gib=graph_peak,
        graph_notes=" ".join(notes),
    )


def rate(name: str, config: dict[str, Any], tokens: TokenSet, device: str) -> tuple[float, list[str]]:
    """Train once; return the seconds per step after the first epoch, and why steps were not replayed."""
    ends: list[float] = []

    def note_end(step: int, values: Mapping[str, float]) -> None:
        # The loop has read the losses of the epoch, so the device has computed all its steps.
        if "training_r2" in values:
            ends.append(time.perf_counter())

    layer: Any = sae_training.Layer(tokens.width("input"), tokens.width("output"))
    method = methods.create(name, **config)
    method.on_metrics = note_end
    with patch.object(graphs, "WARM_UP_STEPS", 3), patch.object(graphs, "LEAST_STEPS", 0):
        method.fit(tokens, layer, seed=0, device=device)
    steps = (len(ends) - 1) * -(-tokens.n // config["batch_size"])
    return (ends[-1] - ends[0]) / steps, method.notes
