"""Training of a TopK SAE with tokens on the device, read ahead of it, and read block by block as it once was.

    python benchmarks/training_tokens.py [--device cpu] [--tokens 32768] [--width 256] [--units 1024] [--blocks 4]

The token set, in float16 on disk, is larger than the block that is shuffled at once, as the paper's are. Prints, for
each way, tokens per second from the first step to the last, and the share of that time in which the loop waits for a
batch; then the ratios to the way of before, in which each block is gathered by NumPy, converted to float32 and
normalised while nothing is trained. The ways alternate, and the median of the repetitions is taken.

On a CPU, training uses the cores that read the tokens. A second table is of a loop that sleeps for ``--step-ms`` after
each batch in place of a step, as if another device computed it. It includes the normalisation of the batches, which a
GPU would do, and no copies to a GPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from _report import report
from torch import Tensor

import methods
from harness.activations.token_set import TokenSet
from harness.activations.token_writer import TokenWriter
from methods.training.batches import Batches, joined_rows
from methods.training.normaliser import Normaliser

#: Name of each way -> whether tokens are resident; None: the way of before.
WAYS = {"block by block": None, "read ahead": False, "on the device": True}


class Measured(NamedTuple):
    """Rate of one training."""

    tokens_per_second: float
    waiting: float
    """share of the time in which the loop waits for a batch"""


class Layer(NamedTuple):
    """Output of a module, of which a method reads the tokens only."""

    d_in: int
    d_out: int
    kind: str = "output"


class BlockByBlock(Batches):
    """The way of before: a block is gathered, converted and normalised as a whole when its first batch is needed."""

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        def blocks() -> Iterator[tuple[list[Tensor], Tensor]]:
            for block in self._blocks(number, skip):
                parts = [
                    normalise(self.tokens.gather(field, block.rows.numpy()).to(self.device, torch.float32))
                    for field, normalise in zip(self.fields, self.normalisers, strict=True)
                ]
                yield parts, block.order.to(self.device)

        for pieces in self._split(blocks()):
            yield tuple(joined_rows(pieces, index) for index in range(len(self.fields)))


def written(folder: Path, n: int, width: int) -> TokenSet:
    """Write n random tokens of a layer, in float16."""
    writer = TokenWriter(folder / "tokens", dtype="float16")
    generator = torch.Generator().manual_seed(0)
    for start in range(0, n, 1 << 16):
        rows = np.arange(start, min(n, start + (1 << 16)))
        writer.add(rows, rows, rows, output=torch.randn(len(rows), width, generator=generator))
    return writer.finish()


def batches_of(way: str, waits: list[float], blocks: int, tokens: TokenSet, *arguments: Any, **options: Any) -> Batches:
    """Return the batches of a way; the time in which each is waited for is added to ``waits``."""
    resident = WAYS[way]
    kind = BlockByBlock if resident is None else Batches

    class Timed(kind):  # type: ignore[misc, valid-type]
        def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
            iterator = super().epoch(number, skip)
            while True:
                started = time.perf_counter()
                batch = next(iterator, None)
                waits.append(time.perf_counter() - started)
                if batch is None:
                    return
                yield batch

    size = -(-tokens.n // blocks) * 4 * tokens.width("output")
    return Timed(tokens, *arguments, **options, block_bytes=size, resident=resident)


def pulled(tokens: TokenSet, way: str, batch_size: int, blocks: int, step_s: float) -> Measured:
    """Take the batches of two epochs, and sleep after each."""
    waits: list[float] = []
    batches = batches_of(
        way, waits, blocks, tokens, ["output"], [Normaliser(tokens, "output")], batch_size, seed=1, device="cpu"
    )
    # Loaded before the clock starts, where that is done once.
    next(batches.epoch(0))
    waits.clear()
    started = time.perf_counter()
    for number in range(2):
        for _ in batches.epoch(number):
            time.sleep(step_s)
    seconds = time.perf_counter() - started
    return Measured(2 * tokens.n / seconds, sum(waits) / seconds)


def trained(tokens: TokenSet, way: str, config: dict[str, Any], blocks: int, device: str) -> Measured:
    """Train once, and return the rate of the steps after the first ones, in which a GPU records its graph."""
    waits: list[float] = []
    stamps: list[float] = []
    steps = 0

    def made(*arguments: Any, **options: Any) -> Batches:
        return batches_of(way, waits, blocks, *arguments, **options)

    def progress(done: int, total: int, what: str) -> None:
        nonlocal steps
        steps = total
        if done <= min(10, total // 4):
            stamps.clear()
            waits.clear()
        stamps.append(time.perf_counter())

    site: Any = Layer(tokens.width("output"), tokens.width("output"))
    with (
        patch("methods.sae.method.Batches", made),
        patch("methods.training.graphs.WARM_UP_STEPS", 3),
        patch("methods.training.graphs.LEAST_STEPS", 0),
    ):
        # The loss is read at the end of each epoch, so the last step has ended when fit returns.
        methods.create("topk_sae", **config).fit(tokens, site, seed=1, device=device, progress=progress)
    seconds = time.perf_counter() - stamps[0]
    share = (len(stamps) - 1) / steps
    return Measured(tokens.n * config["epochs"] * share / seconds, sum(waits) / seconds)


def compare(measure: Callable[[str], Measured], repeats: int) -> dict[str, Measured]:
    """Measure each way in turn, and return the medians; one measurement before them is not counted."""
    measure("on the device")
    runs: dict[str, list[Measured]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            runs[way].append(measure(way))
    return {way: Measured(*(statistics.median(column) for column in zip(*runs[way], strict=True))) for way in WAYS}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="device of torch (default: cpu)")
    parser.add_argument("--tokens", type=int, default=32_768, help="number of tokens (default: 32768)")
    parser.add_argument("--width", type=int, default=256, help="features per token (default: 256)")
    parser.add_argument("--units", type=int, default=1024, help="units of the SAE (default: 1024)")
    parser.add_argument("--batch-size", type=int, default=2048, help="tokens per step (default: 2048)")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of the token set (default: 4)")
    parser.add_argument("--step-ms", type=float, default=5, help="time of a step that is slept through (default: 5)")
    parser.add_argument("--repeats", type=int, default=3, help="trainings in each way (default: 3)")
    options = parser.parse_args()
    config = {"expansion_factor": options.units / options.width, "epochs": 2, "batch_size": options.batch_size}
    print(f"{options.tokens} tokens of {options.width} features in {options.blocks} blocks, {options.units} units")
    with tempfile.TemporaryDirectory() as folder:
        tokens = written(Path(folder), options.tokens, options.width)
        by_training = compare(lambda way: trained(tokens, way, config, options.blocks, options.device), options.repeats)
        show(f"a training on {options.device}", by_training)
        if options.device == "cpu":
            by_pulling = compare(
                lambda way: pulled(tokens, way, options.batch_size, options.blocks, options.step_ms / 1e3),
                options.repeats,
            )
            show(f"a loop that sleeps for {options.step_ms:g} ms per step", by_pulling)


def show(loop: str, measured: dict[str, Measured]) -> None:
    """Print and report the rates of each way."""
    before = measured["block by block"]
    print(f"{loop:40}{'tokens/s':>12}{'waiting':>10}{'ratio':>8}")
    for way, one in measured.items():
        ratio = one.tokens_per_second / before.tokens_per_second
        print(f"  {way:38}{one.tokens_per_second:12.0f}{one.waiting:10.1%}{ratio:8.2f}", flush=True)
        if one is not before:
            report(f"tokens per second of {loop}, {way} / block by block", ratio)


if __name__ == "__main__":
    main()
