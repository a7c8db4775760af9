"""ELUDe's clustering of one unit at the paper's size, beside the bare matrix product that no method can do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from elude_gpu import PAPER_HOURS, UNITS, contributions

from gpu.record import Record
from methods.elude.clustering import Clustering, cluster
from methods.elude.method import distance_bytes

TITLE = "Clustering of one unit, d = 3072"
ORDER = 2
LIMIT_S = 115

D = 3072
TILE = 8192
#: Seconds that the largest size takes on an H100, as a bound: smaller sizes come first.
LEAST_S = {400_000: 45}


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
    """Measure each size: the product in three precisions, then the clustering, which always computes in float32."""
    sizes = (1000, 2000) if record.tiny else (20_000, 100_000, 400_000)
    d = 64 if record.tiny else D
    # The memory for distances that ELUDe itself would use, with two lanes on the device.
    memory = distance_bytes([record.device] * 2)
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
        record.start_peak()
        size = 1000 if n >= 20_000 else n // 20
        labels: list[Clustering] = []
        seconds = record.seconds(lambda: labels.append(cluster(x, min_cluster_size=size, memory_bytes=memory)))  # noqa: B023
        record.row(
            "clustering",
            n=n,
            seconds=seconds,
            to_product=seconds / floors["float32"],
            clusters=labels[0].n_clusters,
            peak_gib=record.peak_gib(),
            hours_of_768_units=UNITS * seconds / 3600,
        )
    record.note(
        f"`to product` divides by the float32 product. `hours of 768 units` is extrapolated from one unit. The paper's "
        f"run (n = 400 000, one A100) took {PAPER_HOURS} to 30 hours. The clustering computes in float32 whatever is "
        "allowed, since ties decide trees; the products show what lower precision would save."
    )
