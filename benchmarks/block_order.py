"""R2 of autoencoders trained on tokens in the order of their classes, held whole and in blocks.

    python benchmarks/block_order.py                       # ten blocks, three families, three seeds: some minutes
    python benchmarks/block_order.py --blocks 2 10 --methods topk_sae

A token set that does not fit into memory is trained on block by block. Each block is a random subset of the tokens
(``methods/training/batches.py``). For comparison, the last column has blocks of consecutive rows, which contain a few
classes each. Tokens are those of the demo's layer, sorted by class. Prints R2 (1 - residual / variance over all
tokens), mean over seeds, and the standard deviation between seeds for scale. The ratio is the difference to held whole
divided by that standard deviation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from _report import report

import harness
import methods
from harness.activations.token_set import TokenSet
from harness.activations.token_writer import TokenWriter
from methods.sae import method as sae_method
from methods.training import batches
from methods.training.batches import Batches

FAMILIES = ("topk_sae", "batchtopk_sae", "matryoshka_sae")
Blocks = Callable[..., list[np.ndarray]]


def consecutive(tokens: Any, block_rows: int) -> list[np.ndarray]:
    """Return blocks of consecutive rows."""
    return [np.arange(start, min(start + block_rows, tokens.n)) for start in range(0, tokens.n, block_rows)]


def sorted_by_class(tokens: Any, folder: Path) -> TokenSet:
    """Write the tokens again, sorted by class."""
    order = np.argsort(tokens.label, kind="stable")
    writer = TokenWriter(folder / "sorted")
    fields = {field: tokens.gather(field, order) for field in ("input", "output")}
    writer.add(tokens.image[order], tokens.position[order], tokens.label[order], **fields)
    return writer.finish()


def r2(
    site: Any, tokens: TokenSet, name: str, config: dict[str, Any], seed: int, n_blocks: int, blocks: Blocks
) -> float:
    """Train with the tokens in a number of blocks, and return R2 on them."""
    rows = -(-tokens.n // n_blocks)

    class Divided(Batches):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "block_bytes": 4 * tokens.width("output") * rows})

    kept = batches.blocks_of, sae_method.Batches
    batches.blocks_of, sae_method.Batches = blocks, Divided  # type: ignore[assignment, misc]
    try:
        fitted = methods.create(name, **config).fit(tokens, site, seed=seed)
    finally:
        batches.blocks_of, sae_method.Batches = kept  # type: ignore[misc]
    error = square = 0.0
    mean = tokens.gather("output", np.arange(tokens.n)).double().mean(0)
    for a in tokens.batches("output", 8192):
        error += float((fitted.decode(fitted.encode(a)) - a).double().square().sum())
        square += float((a.double() - mean).square().sum())
    return 1 - error / square


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[10], help="numbers of blocks (default: 10)")
    parser.add_argument("--methods", nargs="+", default=list(FAMILIES), help=f"default: {' '.join(FAMILIES)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="init seeds (default: 1 2 3)")
    parser.add_argument("--epochs", type=int, default=20, help="default: 20")
    parser.add_argument("--batch-size", type=int, default=1024, help="default: 1024")
    parser.add_argument("--expansion-factor", type=float, default=2, help="default: 2")
    options = parser.parse_args(arguments)
    config = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "expansion_factor": options.expansion_factor,
        "k": 20,
    }
    with tempfile.TemporaryDirectory() as folder:
        site, collected = harness.collect_tokens(
            "dinov2_small_saliency", "blocks.9.mlp.fc2", tokens_per_image=None, seed=42, cache=Path(folder)
        )
        tokens = sorted_by_class(collected, Path(folder))
        print(f"{tokens.n} tokens of {len(set(tokens.label.tolist()))} classes, {options}")
        print(f"{'method':16} {'blocks':>6} {'whole':>8} {'random':>8} {'consecutive':>11} {'sd of seeds':>11}")
        for name in options.methods:
            whole = [r2(site, tokens, name, config, seed, 1, batches.blocks_of) for seed in options.seeds]
            spread = statistics.stdev(whole) if len(whole) > 1 else float("nan")
            for n in options.blocks:
                random, biased = (
                    statistics.fmean(r2(site, tokens, name, config, seed, n, blocks) for seed in options.seeds)
                    for blocks in (batches.blocks_of, consecutive)
                )
                mean = statistics.fmean(whole)
                print(f"{name:16} {n:6} {mean:8.4f} {random:8.4f} {biased:11.4f} {spread:11.4f}", flush=True)
                report(f"{name}: R2 in {n} blocks less held whole / sd of seeds", (random - mean) / spread)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
