"""What surrounds the clustering when ELUDe is built at scale: the top-k of every unit, and gathering contributions.

    python benchmarks/elude_build.py --tokens 1000000 --units 64 --d-in 64 --top-k 150000
    python benchmarks/elude_build.py --tokens 200000 --units 64 --d-in 3072 --top-k 30000 --gather 4

A synthetic token set is written to disk in float16, as a real one is, and read through the same memory-mapped shards.
Prints seconds and the resident peak of this process, file pages included. With --fit the whole method is run on the
demo's layer instead, once for each number of workers, and the results are compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import methods
from harness.activations.token_set import TokenSet, TokenWriter
from methods.elude.contributions import gather, summarise
from methods.elude.instances import top_instances


def peak() -> str:
    """Largest resident size of this process since :func:`forget_peak`."""
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return f"peak {kib / 2**20:.2f} GiB"


def forget_peak() -> None:
    """Start measuring the peak anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def write(folder: Path, n: int, d_in: int, units: int) -> TokenSet:
    """A token set of normal numbers; every batch is its own, so that no two tokens are equal."""
    writer = TokenWriter(folder / "synthetic", dtype="float16")
    generator = torch.Generator().manual_seed(0)
    for start in range(0, n, 16384):
        m = min(16384, n - start)
        rows = np.arange(start, start + m)
        q = torch.randn(m, d_in, generator=generator)
        writer.add(rows, rows, rows, input=q, output=torch.randn(m, units, generator=generator))
    return writer.finish()


def streaming(tokens: TokenSet, top_k: int, memory_gib: float) -> None:
    start = time.perf_counter()
    count = sum(1 for _ in top_instances(tokens, top_k, memory_bytes=int(memory_gib * 2**30)))
    seconds = time.perf_counter() - start
    rate = f"{1e3 * seconds / count:.1f} ms a unit"
    print(f"top {top_k} of {tokens.n} tokens, {count} units: {seconds:.2f} s, {rate}, {peak()}")


def gathering(tokens: TokenSet, top_k: int, units: int) -> None:
    weight = torch.randn(tokens.width("input"), generator=torch.Generator().manual_seed(1))
    for unit, rows in top_instances(tokens, top_k, units=range(units)):
        start = time.perf_counter()
        found = gather(tokens, rows, weight, torch.device("cpu"))
        middle = time.perf_counter()
        summarise(found, torch.arange(len(rows)) % 8, torch.ones(len(rows)), 8)
        gib = found.directions.nbytes / 2**30
        print(
            f"unit {unit}: {len(rows)} contributions ({gib:.2f} GiB) gathered in {middle - start:.2f} s, their eight "
            f"clusters summed in {time.perf_counter() - middle:.2f} s, {peak()}"
        )
        # Before the next ones are gathered.
        del found


def fit(folder: Path, backbone: str, path: str, top_k: int, size: int, workers: list[int]) -> None:
    from harness.activations.site import Site
    from harness.backbones import load

    network = load(backbone)
    site = Site(network.model, path, n_prefix_tokens=network.n_prefix_tokens)
    tokens, weights = TokenSet(folder), []
    for count in workers:
        method = methods.create("elude", top_k=top_k, min_cluster_size=size)
        start = time.perf_counter()
        method.fit(tokens, site, workers=count)
        print(f"{count} workers: {site.d_out} units in {time.perf_counter() - start:.1f} s, {method.n_units} sub-units")
        weights.append(method.weights)
    print(f"identical: {all(torch.equal(weights[0], other) for other in weights)}, {peak()}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--d-in", type=int, default=64)
    parser.add_argument("--top-k", type=int, default=150_000)
    parser.add_argument("--memory-gib", type=float, default=1.0)
    parser.add_argument("--gather", type=int, default=0, help="also gather the contributions of this many units")
    parser.add_argument("--folder", type=Path, help="where the token set is written; a temporary folder by default")
    parser.add_argument("--fit", type=Path, help="a token set on disk: run the whole method on it instead")
    parser.add_argument("--min-cluster-size", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbone", default="dinov2_small_saliency")
    parser.add_argument("--site", default="blocks.9.mlp.fc2")
    options = parser.parse_args(arguments)
    if options.fit:
        fit(options.fit, options.backbone, options.site, options.top_k, options.min_cluster_size, options.workers)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        tokens = write(Path(folder), options.tokens, options.d_in, options.units)
        forget_peak()
        print(f"written, {peak()} from here on")
        # Compiled before the clock.
        next(top_instances(tokens, 2, units=[0]))
        streaming(tokens, options.top_k, options.memory_gib)
        if options.gather:
            gathering(tokens, options.top_k, options.gather)
    return 0


if __name__ == "__main__":
    sys.exit(main())
