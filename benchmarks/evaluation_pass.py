"""Statistics of units in an evaluation pass: one reading and sorted lists, against a full stable sort of every batch.

    python benchmarks/evaluation_pass.py                                        # two minutes
    python benchmarks/evaluation_pass.py --images 16 --units 512 --batches 20   # seconds

Both implementations get the same synthetic sparse codes in turn, in one process, and must agree to the bit. Prints
seconds of each at the start of the pass, when every unit changes, and at its end, and the memory that each needs beyond
the codes. The benchmark's copy of the sort is the one that the tests compare with.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _report import report
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from sorted_statistics import SortedStatistics

from harness.activations.unit_statistics import UnitStatistics
from harness.efficiency.memory import Peak, peak_of

#: Share of the batches that is called the start, and the end, of the pass.
EDGE = 0.1
#: Names of the state that must be the same to the bit on any device.
STATE = ("top_value", "top_image", "top_token", "maximum", "minimum", "fires", "active")


class Seconds(NamedTuple):
    """Seconds per batch of one implementation."""

    start: float
    end: float
    mean: float


class Comparison(NamedTuple):
    """Both implementations on the same codes."""

    seconds: dict[str, Seconds]
    same: bool
    """True if all that is read from them is equal; sums of L0 may differ in the last digits on a GPU"""


class Codes:
    """Codes (B, T, n_units) of one batch after the other, positive on about 7 % of the tokens."""

    def __init__(self, images: int, tokens: int, units: int, device: str = "cpu") -> None:
        generator = torch.Generator(device=device).manual_seed(0)
        self.base = torch.randn(images, tokens, units, generator=generator, device=device)
        self.base = torch.relu_(self.base.sub_(1.5))
        self.scale = torch.Generator().manual_seed(1)

    def next(self) -> Tensor:
        """Return codes that are those before, with the images in another order and of other strength."""
        factors = torch.rand(len(self.base), generator=self.scale) + 0.5
        order = torch.randperm(len(self.base), generator=self.scale)
        # Drawing millions of normal numbers for every batch would take longer than what is measured.
        return self.base[order.to(self.base.device)] * factors[:, None, None].to(self.base.device)


def timed(update: Any, codes: Tensor, index: Tensor) -> float:
    """Return the seconds of one update."""
    started = time.perf_counter()
    update(codes, index)
    if codes.is_cuda:
        torch.cuda.synchronize(codes.device)
    return time.perf_counter() - started


def compare(images: int, tokens: int, units: int, top: int, batches: int, device: str = "cpu") -> Comparison:
    """Time both implementations in turn."""
    codes = Codes(images, tokens, units, device)
    both: dict[str, Any] = {"sort": SortedStatistics(units, top), "lists": UnitStatistics(units, top)}
    with torch.inference_mode():
        # The kernels are compiled, or read from numba's cache.
        UnitStatistics(units, top).update(codes.next(), torch.arange(images))
        seconds: dict[str, list[float]] = {name: [] for name in both}
        for number in range(batches):
            batch, index = codes.next(), torch.arange(images) + number * images
            for name in both if number % 2 else reversed(both):
                seconds[name].append(timed(both[name].update, batch, index))
    same = all(torch.equal(getattr(both["sort"], name), getattr(both["lists"], name)) for name in STATE)
    same = same and torch.allclose(both["sort"].l0_sums, both["lists"].l0_sums, rtol=1e-12, atol=0)
    edge = max(1, round(EDGE * batches))
    parts = {name: (times[:edge], times[-edge:], times) for name, times in seconds.items()}
    return Comparison({name: Seconds(*map(_mean, of)) for name, of in parts.items()}, same)


def _mean(times: list[float]) -> float:
    return sum(times) / len(times)


def memory(images: int, tokens: int, units: int, top: int, device: str = "cpu") -> dict[str, Peak]:
    """Return name -> peak of memory over ten batches, beyond the codes on a CPU; on a GPU the codes are included."""
    codes = Codes(images, tokens, units, device)
    given = [codes.next(), codes.next()]

    def run(statistics: Any) -> None:
        with torch.inference_mode():
            for number in range(10):
                statistics.update(given[number % 2], torch.arange(images) + number * images)

    # Compiled code is not counted.
    run(UnitStatistics(units, top))
    kinds = {"sort": SortedStatistics, "lists": UnitStatistics}
    return {name: peak_of(partial(run, kind(units, top)), torch.device(device)) for name, kind in kinds.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="images per batch")
    parser.add_argument("--tokens", type=int, default=257, help="tokens per image")
    parser.add_argument("--units", type=int, default=6144)
    parser.add_argument("--top", type=int, default=100, help="images kept per unit")
    parser.add_argument("--batches", type=int, default=60)
    options = parser.parse_args()
    sizes = (options.images, options.tokens, options.units, options.top)
    measured = compare(*sizes, options.batches)
    grown = memory(*sizes)
    size = f"{options.images} x {options.tokens} x {options.units}, top {options.top}, {options.batches} batches"
    print(f"{size}, {torch.get_num_threads()} threads")
    for name, seconds in measured.seconds.items():
        print(
            f"{name:6s} {1e3 * seconds.mean:8.1f} ms per batch, first {1e3 * seconds.start:8.1f}, "
            f"last {1e3 * seconds.end:8.1f}; peak memory {(grown[name].bytes or 0) / 2**20:6.1f} MiB"
        )
    if not measured.same:
        raise SystemExit("The two implementations differ.")
    ratio = measured.seconds["sort"].mean / measured.seconds["lists"].mean
    print(f"ratio {ratio:.1f}")
    report(f"statistics of units, full sort / one reading and sorted lists, {size}", ratio, note="above 1")


if __name__ == "__main__":
    main()
