"""ELUDe's clustering of one unit at the paper's size, beside the bare matrix product that no method can do without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from elude_gpu import PAPER_HOURS, UNITS, contributions

from gpu.record import Record
from methods.elude.clustering import Clustering, cluster
from methods.elude.lanes import LANES_A_GPU, side_by_side
from methods.elude.method import distance_bytes
from methods.elude.products import PRECISIONS
from methods.elude.spanning_tree import matrix_products
from methods.elude.tiled import core_distances
from methods.elude.tiles import Tiles, largest_error
from methods.tracing import Trace, tracing

TITLE = "Clustering of one unit, d = 3072"
ORDER = 2
LIMIT_S = 120

D = 3072
TILE = 8192
#: Seconds that the largest size takes on an H100, as a bound: smaller sizes come first.
LEAST_S = {400_000: 45}
#: Seconds that the same size takes at most in a reduced precision, by lanes, and in float32, assumed.
REDUCED_S = {400_000: 20}
LANES_S = {400_000: 45}
LEAST_PLAIN_S = {400_000: 30}
#: Clusterings that lanes compute: of two, the second one's part on the CPU could not overlap with anything.
ITEMS = 3


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let matrix products of float32 use TF32, or forbid it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def product(x: torch.Tensor) -> None:
    """Compute ``x @ x.T`` by tiles, without keeping it."""
    for rows in x.split(TILE):
        for columns in x.split(4 * TILE):
            rows @ columns.T


def run(record: Record) -> None:
    """Measure each size: the product in three precisions, then the clustering by phases, by lanes and by precision."""
    sizes = (1000, 2000) if record.tiny else (20_000, 100_000, 400_000)
    d = 64 if record.tiny else D
    # The memory for distances that ELUDe itself would use, with two lanes on the device; at a small size so little that
    # they are computed in blocks.
    memory = 1 << 21 if record.tiny else distance_bytes([record.device] * LANES_A_GPU)
    cluster(contributions(2000, d, record.device, 0), min_cluster_size=50)  # compiles, and starts the libraries
    for n in sizes:
        if record.seconds_left < LEAST_S.get(n, 0):
            record.note(f"n = {n} was left out: {record.seconds_left:.0f} s were left.")
            continue
        x = contributions(n, d, record.device, seed=0)
        floors = {}
        for precision in ("float32", "tf32", "bfloat16"):
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            with tf32(precision == "tf32"):
                work = partial(product, x.to(dtype))
                floors[precision] = record.seconds(work, warmup=int(n < 400_000))
                del work
            rate = 2.0 * n * n * d / floors[precision] / 1e12
            record.row("bare product", n=n, precision=precision, seconds=floors[precision], tflops=rate)
        size = 1000 if n >= 20_000 else n // 20
        default = phases(record, x, size, memory)
        if record.seconds_left < LANES_S.get(n, 0):
            record.note(f"Lanes at n = {n} were left out: {record.seconds_left:.0f} s were left.")
        else:
            several_lanes(record, x, size, memory, default)
        if record.seconds_left < LEAST_PLAIN_S.get(n, 0):
            record.note(f"n = {n} in float32 was left out: {record.seconds_left:.0f} s were left.")
            continue
        plain, seconds = clustering(record, x, size, memory, "float32", floors["float32"])
        require_equal(record, plain, [default], f"n = {n}, default precision")
        for name in PRECISIONS:
            if record.seconds_left < REDUCED_S.get(n, 0):
                record.note(f"n = {n} in {name} was left out: {record.seconds_left:.0f} s were left.")
                continue
            reduced, _ = clustering(record, x, size, memory, name, floors["float32"], seconds)
            require_equal(record, plain, [reduced], f"n = {n}, {name}")
            if n < 400_000:
                recheck(record, x, size, memory, name)
    record.note(
        f"Lanes: {ITEMS} clusterings by one lane and by {LANES_A_GPU}. Their distances take turns at the GPU, so "
        "`seconds` is at least the sum of all phases on the GPU and one CPU part. "
        "`to product` divides by the float32 product. `hours of 768 units` is extrapolated from one unit. The paper's "
        f"run (n = 400 000, one A100) took {PAPER_HOURS} to 30 hours. In a reduced precision, distances whose error "
        "could change the result are computed again in float64. The error of the parts of a row has a proved bound. "
        "That of the sums of tensor cores is assumed; the largest error of a sample tests it here."
    )


def phases(record: Record, x: torch.Tensor, size: int, memory: int) -> Clustering:
    """Add the seconds of each phase of a clustering in the default precision, and return it."""
    cluster(x[: max(2 * size, len(x) // 100)], min_cluster_size=size, memory_bytes=memory)  # starts what starts late
    with tracing(Trace(record.synchronize)) as trace:
        started = time.perf_counter()
        result = cluster(x, min_cluster_size=size, memory_bytes=memory)
        record.synchronize()
        whole = time.perf_counter() - started
    seconds = {key.name: 0.0 for key in trace.seconds}
    for key, spent in trace.seconds.items():
        seconds[key.name] += spent
    seconds["rest: checks of the input, copies, numbering"] = whole - sum(seconds.values())
    for phase, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        record.row("phases", n=len(x), phase=phase, seconds=spent, share=spent / whole)
    record.row("phases", n=len(x), phase="all", seconds=whole, share=1.0)
    return result


def several_lanes(record: Record, x: torch.Tensor, size: int, memory: int, expected: Clustering) -> None:
    """Add the time of the same clusterings by one lane and by as many as ELUDe has on a GPU."""

    def work(item: int, device: torch.device) -> Clustering:
        return cluster(x, min_cluster_size=size, memory_bytes=memory)

    alone = 0.0
    for count in (1, LANES_A_GPU):
        results: list[Clustering] = []
        record.start_peak()
        computed = partial(side_by_side, work, lanes=[x.device] * count)
        seconds = record.seconds(lambda computed=computed, into=results: into.extend(computed(iter(range(ITEMS)))))
        alone = alone or seconds
        record.row(
            "lanes",
            n=len(x),
            lanes=count,
            clusterings=ITEMS,
            seconds=seconds,
            seconds_each=seconds / ITEMS,
            to_one_lane=seconds / alone,
            peak_gib=record.peak_gib(),
        )
        require_equal(record, expected, results, f"n = {len(x)}, lanes: {count}")


def require_equal(record: Record, expected: Clustering, others: list[Clustering], what: str) -> None:
    """Add a check that clusterings have the same labels and probabilities as one."""
    differ = sum(
        int(((expected.labels != other.labels) | (expected.probabilities != other.probabilities)).sum())
        for other in others
    )
    record.check(f"points of another label or probability, {what}", differ, 0)


def clustering(
    record: Record, x: torch.Tensor, size: int, memory: int, products: str, floor: float, plain: float | None = None
) -> tuple[Clustering, float]:
    """Add the time of one clustering, and return it with its seconds.

    Args:
        floor: seconds of the float32 product.
        plain: seconds of the clustering in float32, if it is another one.
    """
    record.start_peak()
    results: list[Clustering] = []
    work = partial(cluster, x, min_cluster_size=size, memory_bytes=memory, products=products)
    seconds = record.seconds(lambda: results.append(work()))
    record.row(
        "clustering",
        n=len(x),
        products=products,
        seconds=seconds,
        to_product=seconds / floor,
        to_float32=1.0 if plain is None else seconds / plain,
        clusters=results[0].n_clusters,
        peak_gib=record.peak_gib(),
        hours_of_768_units=UNITS * seconds / 3600,
    )
    return results[0], seconds


def recheck(record: Record, x: torch.Tensor, k: int, memory: int, products: str) -> None:
    """Add the distances per point that core distances need again, and the largest error of a sample with its bound."""
    with matrix_products("tf32"):
        tiles = Tiles(x, memory, products)
        error = largest_error(tiles, 512)
        core_distances(tiles, k, memory)
    record.row(
        "distances computed again",
        n=len(x),
        products=products,
        bound=float(tiles.slack.mean()),
        per_point=tiles.n_exact / len(x),
        error_to_bound=error,
    )
    record.check(f"largest error / bound, n = {len(x)}, {products}", error, 1.0)
