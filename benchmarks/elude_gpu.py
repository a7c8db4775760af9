"""Clustering at the paper's scale on one GPU: n = 20 000, 100 000 and 400 000 contributions of 3072 inputs.

    python benchmarks/elude_gpu.py                          # needs a CUDA device; without one it is skipped
    python benchmarks/elude_gpu.py --device cpu --n 5000    # the same code on the processor

Prints seconds and peak memory per unit, and an extrapolation to the paper's run (768 units, the largest n); the paper
reports 26 to 30 hours on one A100. The ratio is these 26 hours divided by the extrapolated time. Data are synthetic, so
no weights or images are needed: GELU activations of mixed parts times a weight vector, which have the cluster structure
of real contributions.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from _report import report

from methods.elude.clustering import cluster, unit_rows

UNITS = 768
PAPER_HOURS = 26


def contributions(n: int, d: int, device: torch.device, seed: int, parts: int = 12) -> torch.Tensor:
    """Return unit rows (n, d) float32 of `parts` kinds of token, computed in blocks to save memory."""
    generator = torch.Generator().manual_seed(seed)
    mixing = (torch.randn(48, d, generator=generator) / 48**0.5).to(device)
    weight = torch.randn(d, generator=generator).to(device)
    kinds = torch.randn(parts, 48, generator=generator)
    out = torch.empty(n, d, device=device)
    for start in range(0, n, 16384):
        stop = min(start + 16384, n)
        kind = torch.randint(parts, (stop - start,), generator=generator)
        hidden = (kinds[kind] + 0.6 * torch.randn(stop - start, 48, generator=generator)).to(device) @ mixing
        out[start:stop] = unit_rows(weight * torch.nn.functional.gelu(hidden))[0]
    return out


def run(n: int, d: int, device: torch.device, size: int, memory_bytes: int, seed: int) -> float:
    """Cluster one unit, print a line and return the seconds."""
    x = contributions(n, d, device, seed)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    labels = cluster(x, min_cluster_size=size, memory_bytes=memory_bytes)
    seconds = time.perf_counter() - start
    peak = f"{torch.cuda.max_memory_allocated(device) / 2**30:6.1f} GiB on the device" if on_gpu else ""
    rate = 2.0 * n * n * d / seconds / 1e12
    print(f"n = {n:7d}  {seconds:9.2f} s  {rate:7.2f} TFLOP/s of one product  {labels.n_clusters:3d} clusters  {peak}")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="device of torch (default: cuda)")
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 100_000, 400_000], help="contributions per unit")
    parser.add_argument("--d", type=int, default=3072, help="inputs of the layer (default: 3072)")
    parser.add_argument("--min-cluster-size", type=int, help="default: 1000, or n / 20 if n is less than 20 000")
    parser.add_argument("--memory-gib", type=float, default=4.0, help="memory of the distances (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the data (default: 0)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("Skipped: no CUDA device. On the processor: --device cpu --n 5000.")
        report("the paper's time / the extrapolated time", None, note="needs a CUDA device")
        return 0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, d = {options.d}, float32")
    # Compiled code is loaded and the device's libraries are started before the clock.
    cluster(contributions(2000, options.d, device, options.seed), min_cluster_size=50)
    seconds = 0.0
    for n in options.n:
        size = options.min_cluster_size or (1000 if n >= 20_000 else max(2, n // 20))
        seconds = run(n, options.d, device, size, int(options.memory_gib * 2**30), options.seed)
    hours = UNITS * seconds / 3600
    print(
        f"Extrapolated, not run: {UNITS} units of n = {options.n[-1]} at this rate take {hours:.2f} hours; the paper's "
        f"run (n = 400000, one A100) took {PAPER_HOURS} to 30."
    )
    note = "" if options.n[-1] >= 400_000 else f"at n = {options.n[-1]} instead of 400000"
    report("the paper's time / the extrapolated time", PAPER_HOURS / hours, note=note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
