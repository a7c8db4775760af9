"""Share of distances that a clustering in reduced precision computes again in float64.

    python benchmarks/recheck_share.py                                # synthetic contributions, about a minute
    python benchmarks/recheck_share.py --source demo --n 4000 20000   # contributions of the demo's layer

Distances are recomputed if they are so close to the point's core distance (the `min_samples`-th nearest) that the error
of their precision could change which points are nearer. The share depends on the data and on the bound, not on the
device, so a sample of rows on a CPU gives it. What precision costs and saves in time is not measured here: see
benchmarks/gpu/clustering_scale.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from _report import report
from elude_gpu import contributions as synthetic_contributions

from methods.elude.products import PRECISIONS
from methods.elude.tiles import Tiles, largest_error


def rechecked(x: torch.Tensor, k: int, products: str, sample: int) -> tuple[float, float, float]:
    """Return the mean and largest number of distances per point that are computed again, and the mean bound.

    Args:
        k: min_samples.
        sample: number of points that are counted, spread over all.
    """
    tiles = Tiles(x, 1 << 28, products)
    points = torch.arange(0, len(x), max(1, len(x) // sample))[:sample]
    squares = tiles.strip(points)
    near = squares.kthvalue(k + 1, dim=1).values.double()
    band = 2.0 * tiles.slack[points]
    count = ((squares.double() - near[:, None]).abs() <= band[:, None]).sum(1).double()
    return float(count.mean()), float(count.max()), float(tiles.slack.mean())


def sources(source: str, sizes: list[int], d: int, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a name and unit rows (n, d) for each size."""
    if source == "synthetic":
        for n in sizes:
            yield f"synthetic, n = {n}", synthetic_contributions(n, d, torch.device("cpu"), seed)
        return
    from clustering import contributions, tokens

    layer = tokens("dinov2_small_saliency", "blocks.9.mlp.fc2", "photos")
    generator = torch.Generator().manual_seed(seed)
    for n in sizes:
        for unit in torch.randperm(len(layer[1]), generator=generator)[:3].tolist():
            yield f"demo, unit {unit}, n = {n}", contributions(layer, unit, min(n, len(layer[0])))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=("synthetic", "demo"), default="synthetic", help="default: synthetic")
    parser.add_argument("--n", type=int, nargs="+", default=[20_000], help="contributions (default: 20000)")
    parser.add_argument("--d", type=int, default=3072, help="inputs of the synthetic layer (default: 3072)")
    parser.add_argument("--min-samples", type=int, nargs="+", default=[1000], help="default: 1000")
    parser.add_argument("--sample", type=int, default=128, help="points that are counted (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    largest = dict.fromkeys(("float32", *PRECISIONS), 0.0)
    for title, x in sources(options.source, options.n, options.d, options.seed):
        for k in options.min_samples:
            print(f"{title}, min_samples = {k}")
            for name in largest:
                mean, most, bound = rechecked(x, k, name, options.sample)
                largest[name] = max(largest[name], mean / len(x))
                error = largest_error(Tiles(x, 1 << 28, name), 64)
                print(
                    f"  {name:8s} bound {bound:.1e} (largest error / bound {error:.2f}), again: {mean:6.1f} per point, "
                    f"at most {most:.0f}, share {mean / len(x):.1e}"
                )
    for name, share in largest.items():
        report(f"distances computed again / all distances, {name}", share, note="largest of the sizes")


if __name__ == "__main__":
    main()
