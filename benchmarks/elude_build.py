"""Time and memory of ELUDe's steps around the clustering: the top-k of every unit, and gathering contributions.

    python benchmarks/elude_build.py         # 1 000 000 tokens, 64 units, top-k 150 000
    python benchmarks/elude_build.py --tokens 200000 --d-in 3072 --top-k 30000 --gather 4
    python benchmarks/elude_build.py --fit outputs/cache/tokens/FINGERPRINT --top-k 1500

A synthetic token set is written to disk in float16, like a real one, and read through the same memory-mapped shards.
Prints seconds and the resident peak of this process, file pages included. The ratio is the time of the top-k divided by
that of reading the outputs once. With --fit the whole method is run on the demo's layer instead, once for each number
of workers, and the results are compared; the ratio is then that of the first and the last number of workers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _report import report

import methods
from harness.activations.token_set import TokenSet
from harness.activations.token_writer import TokenWriter
from methods.elude.contributions import gather, summarise
from methods.elude.instances import top_instances


def peak() -> str:
    """Return the largest resident size of this process since :func:`forget_peak`, as text."""
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return f"peak {kib / 2**20:.2f} GiB"


def forget_peak() -> None:
    """Reset the peak of this process (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def write(folder: Path, n: int, d_in: int, units: int) -> TokenSet:
    """Write a token set of normal random numbers."""
    writer = TokenWriter(folder / "synthetic", dtype="float16")
    generator = torch.Generator().manual_seed(0)
    for start in range(0, n, 16384):
        m = min(16384, n - start)
        rows = np.arange(start, start + m)
        q = torch.randn(m, d_in, generator=generator)
        writer.add(rows, rows, rows, input=q, output=torch.randn(m, units, generator=generator))
    return writer.finish()


def streaming(tokens: TokenSet, top_k: int, memory_gib: float) -> None:
    """Print and report the time of the top-k of all units."""
    start = time.perf_counter()
    for _ in tokens.batches("output", 65536):
        pass
    reading = time.perf_counter() - start
    start = time.perf_counter()
    count = sum(1 for _ in top_instances(tokens, top_k, memory_bytes=int(memory_gib * 2**30)))
    seconds = time.perf_counter() - start
    rate = f"{1e3 * seconds / count:.1f} ms per unit"
    print(f"top {top_k} of {tokens.n} tokens, {count} units: {seconds:.2f} s, {rate}, {peak()}")
    report(f"top-k of {count} units / reading them, {tokens.n} tokens", seconds / reading)


def gathering(tokens: TokenSet, top_k: int, units: int) -> None:
    """Print the time of gathering and summing the contributions of the first units."""
    weight = torch.randn(tokens.width("input"), generator=torch.Generator().manual_seed(1))
    for unit, rows in top_instances(tokens, top_k, units=range(units)):
        start = time.perf_counter()
        contributions = gather(tokens, rows, weight, torch.device("cpu"))
        middle = time.perf_counter()
        summarise(contributions, torch.arange(len(rows)) % 8, torch.ones(len(rows)), 8)
        gib = contributions.directions.nbytes / 2**30
        print(
            f"unit {unit}: {len(rows)} contributions ({gib:.2f} GiB) gathered in {middle - start:.2f} s, their eight "
            f"clusters summed in {time.perf_counter() - middle:.2f} s, {peak()}"
        )
        # Free the memory before the next ones are gathered.
        del contributions


def fit(folder: Path, backbone: str, path: str, top_k: int, size: int, workers: list[int]) -> None:
    """Fit the whole method with each number of workers, and compare the results."""
    from harness.activations.linear_site import LinearLayerSite
    from harness.backbones import load

    network = load(backbone)
    site = LinearLayerSite(network.model, path, n_prefix_tokens=network.n_prefix_tokens)
    tokens, weights, taken = TokenSet(folder), [], []
    for count in workers:
        method = methods.create("elude", top_k=top_k, min_cluster_size=size)
        start = time.perf_counter()
        method.fit(tokens, site, workers=count)
        taken.append(time.perf_counter() - start)
        print(f"{count} workers: {site.d_out} units in {taken[-1]:.1f} s, {method.n_units} sub-units")
        weights.append(method.weights)
    print(f"identical: {all(torch.equal(weights[0], other) for other in weights)}, {peak()}")
    report(f"fit with {workers[0]} / {workers[-1]} workers", taken[0] / taken[-1])


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens (default: 1000000)")
    parser.add_argument("--units", type=int, default=64, help="outputs of the layer (default: 64)")
    parser.add_argument("--d-in", type=int, default=64, help="inputs of the layer (default: 64)")
    parser.add_argument("--top-k", type=int, default=150_000, help="instances per unit (default: 150000)")
    parser.add_argument("--memory-gib", type=float, default=1.0, help="memory of a block of outputs (default: 1)")
    parser.add_argument("--gather", type=int, default=2, help="units whose contributions are gathered (default: 2)")
    parser.add_argument("--folder", type=Path, help="folder for the temporary token set (default: that of the system)")
    parser.add_argument("--fit", type=Path, help="token set on disk; run the whole method on it instead")
    parser.add_argument("--min-cluster-size", type=int, default=40, help="of --fit (default: 40)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of --fit (default: 1 2)")
    parser.add_argument("--backbone", default="dinov2_small_saliency", help="of --fit")
    parser.add_argument("--site", default="blocks.9.mlp.fc2", help="of --fit: module path of the layer")
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
