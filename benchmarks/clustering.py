"""Time of clustering one unit's contributions, compared with other implementations and with the matrix product alone.

    python benchmarks/clustering.py                      # contributions of the demo, n = 1500
    python benchmarks/clustering.py --n 1500 4000 --units 5 --repeats 15                # several minutes
    python benchmarks/clustering.py --n 1500 --units 384 --only exact                   # a whole demo layer

All implementations run in turn in one process on the same data, so ratios hold on a busy machine. Times are the best
and the median of the repeats, without compilation. Agreement is the adjusted Rand index with `hdbscan`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from _report import report
from sklearn.metrics import adjusted_rand_score

from methods.elude.clustering import cluster, unit_rows

Fit = Callable[[torch.Tensor], np.ndarray]


def tokens(backbone: str, site: str, dataset: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs q (n_tokens, d_in) of a site over an image set, its weight (d_out, d_in) and bias (d_out,)."""
    from harness.activations.linear_site import LinearLayerSite
    from harness.backbones import load
    from harness.datasets import BrokenReport, batches
    from harness.datasets import load as load_images

    network = load(backbone)
    layer = LinearLayerSite(network.model, site, n_prefix_tokens=network.n_prefix_tokens)
    prepare = network.preprocessing.center
    stream = batches(load_images(dataset), lambda image, _: prepare(image), batch_size=16, report=BrokenReport())
    q = [layer.capture(network.features, batch.images).q.flatten(0, 1).clone() for batch in stream]
    return torch.cat(q), layer.weight.clone(), layer.bias.clone()


def contributions(source: tuple[torch.Tensor, torch.Tensor, torch.Tensor], unit: int, n: int) -> torch.Tensor:
    """Return normalised contributions (n, d_in) of the n tokens with the largest activation, in token order."""
    q, weight, bias = source
    top = (q @ weight[unit] + bias[unit]).topk(n).indices.sort().values
    return unit_rows(weight[unit] * q[top])[0]


def contenders(size: int, selection: str) -> dict[str, Fit]:
    """Return the implementations by name; each returns labels (n,)."""

    def exact(x: torch.Tensor) -> np.ndarray:
        return cluster(x, min_cluster_size=size, selection=selection).labels.numpy()

    def tiled(x: torch.Tensor) -> np.ndarray:
        return cluster(x, min_cluster_size=size, selection=selection, memory_bytes=4 * len(x) ** 2 // 4).labels.numpy()

    def product(x: torch.Tensor) -> np.ndarray:
        return (x @ x.T)[:, 0].numpy()

    def library(x: torch.Tensor) -> np.ndarray:
        from hdbscan import HDBSCAN

        return HDBSCAN(min_cluster_size=size, cluster_selection_method=selection).fit(x.numpy()).labels_

    def sklearn(x: torch.Tensor) -> np.ndarray:
        from sklearn.cluster import HDBSCAN

        # scikit-learn counts the point itself.
        model = HDBSCAN(
            min_cluster_size=size, min_samples=size + 1, cluster_selection_method=selection, n_jobs=-1, copy=False
        )
        return model.fit(x.numpy()).labels_

    def fast(x: torch.Tensor) -> np.ndarray:
        from fast_hdbscan import HDBSCAN

        return (
            HDBSCAN(min_cluster_size=size, min_samples=size, cluster_selection_method=selection).fit(x.numpy()).labels_
        )

    fits = {"product": product, "exact": exact, "exact, tiled": tiled, "hdbscan": library, "sklearn": sklearn}
    # Above 30 dimensions fast_hdbscan 0.3 is approximate, by pynndescent.
    if all(importlib.util.find_spec(name) is not None for name in ("fast_hdbscan", "pynndescent")):
        fits["fast_hdbscan"] = fast
    return fits


def timed(fit: Fit, x: torch.Tensor) -> tuple[float, np.ndarray]:
    """Return the seconds of one call, and its labels."""
    start = time.perf_counter()
    labels = fit(x)
    return time.perf_counter() - start, labels


def compare(fits: dict[str, Fit], data: Iterable[torch.Tensor], repeats: int, slow: float) -> None:
    """Print a line per implementation; one that takes more than `slow` seconds runs once per unit."""
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    labels: dict[str, list[np.ndarray]] = {name: [] for name in fits}
    for x in data:
        for name, fit in fits.items():
            taken, assigned = timed(fit, x)
            seconds[name].append(taken)
            labels[name].append(assigned)
        n = len(x)
        for _ in range(repeats - 1):
            for name, fit in fits.items():
                if seconds[name][0] < slow:
                    seconds[name].append(timed(fit, x)[0])
    best = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'':14s} {'best ms':>10s} {'median ms':>10s} {'/ product':>10s} {'hdbscan /':>10s}   ARI with hdbscan")
    for name in fits:
        line = f"{name:14s} {1e3 * best[name]:10.1f} {1e3 * middle[name]:10.1f}"
        line += f" {middle[name] / middle['product']:10.2f}" if "product" in fits else " " * 11
        line += f" {middle['hdbscan'] / middle[name]:10.1f}" if "hdbscan" in fits else " " * 11
        if "hdbscan" in fits and name not in ("hdbscan", "product"):
            agreement = [adjusted_rand_score(a, b) for a, b in zip(labels["hdbscan"], labels[name], strict=True)]
            share = sum(value >= 0.99 for value in agreement) / len(agreement)
            line += f"   min {min(agreement):.4f}, at least .99 on {100 * share:.0f} % of {len(agreement)} units"
        print(line)
    for slower, faster in (("exact", "product"), ("hdbscan", "exact"), ("sklearn", "exact")):
        if slower in fits and faster in fits:
            report(f"{slower} / {faster}, n = {n}", middle[slower] / middle[faster])
    for name in ("exact", "hdbscan"):
        if name in fits:
            counts = [int(assigned.max()) + 1 for assigned in labels[name]]
            mean, none = sum(counts) / len(counts), counts.count(0)
            print(f"{name}: {mean:.2f} clusters per unit; none in {none} of {len(counts)} units")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1500], help="points per unit (default: 1500)")
    parser.add_argument("--units", type=int, default=2, help="units, spread over the layer (default: 2)")
    parser.add_argument("--min-cluster-size", type=int, default=40, help="smallest cluster (default: 40)")
    parser.add_argument("--selection", choices=["leaf", "eom"], default="leaf", help="selection of clusters")
    parser.add_argument("--repeats", type=int, default=5, help="repeats per unit (default: 5)")
    parser.add_argument(
        "--slow", type=float, default=1.0, help="implementations slower than this (s) run once per unit"
    )
    parser.add_argument("--only", nargs="+", help="names of the implementations to time (default: all)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: all cores)")
    parser.add_argument("--backbone", default="dinov2_small_saliency", help="name of the backbone")
    parser.add_argument("--site", default="blocks.9.mlp.fc2", help="module path of the layer")
    parser.add_argument("--dataset", default="photos", help="image set")
    parser.add_argument("--tokens", type=Path, help=".npz file with q, weight and bias to use instead of a backbone")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.tokens:
        with np.load(options.tokens) as stored:
            source = tuple(torch.from_numpy(stored[name]) for name in ("q", "weight", "bias"))
    else:
        source = tokens(options.backbone, options.site, options.dataset)
    q, weight, _ = source
    print(f"{len(q)} tokens, {weight.shape[1]} -> {weight.shape[0]}, {torch.get_num_threads()} threads")
    fits = contenders(options.min_cluster_size, options.selection)
    if options.only:
        unknown = set(options.only) - set(fits)
        if unknown:
            parser.error(f"unknown --only {' '.join(sorted(unknown))}; allowed are {', '.join(fits)}")
        fits = {name: fits[name] for name in fits if name in options.only}
    units = np.linspace(0, len(weight) - 1, options.units).astype(int).tolist()
    for fit in fits.values():
        fit(contributions(source, 0, max(200, 2 * options.min_cluster_size)))
    for n in options.n:
        print(f"\nn = {n}, d = {weight.shape[1]}, {len(units)} units, {options.selection}, {options.min_cluster_size}")
        compare(fits, (contributions(source, unit, n) for unit in units), options.repeats, options.slow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
