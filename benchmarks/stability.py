"""Time of one method's stability: three dictionaries of random atoms, and the Hungarian matching of each pair.

    python benchmarks/stability.py                                  # 6144 x 768, as in the paper's Table 4
    python benchmarks/stability.py --atoms 24576 --width 768        # as large as a transcoder: minutes

Random atoms are a hard case for the matching: no atom has an obvious partner. Prints the seconds of each pair, the
matched cosine (about 0.130 for 6144 x 768, the chance level) and the peak memory. The ratio is the time of a pair
divided by that of the product of its two dictionaries.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import sys
import time

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from _report import report

from harness.metrics import matched_cosine


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=6144, help="atoms per dictionary (default: 6144)")
    parser.add_argument("--width", type=int, default=768, help="dimensions of an atom (default: 768)")
    parser.add_argument("--runs", type=int, default=3, help="dictionaries; every pair is matched (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the atoms (default: 0)")
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(options.seed)
    runs = [torch.randn(options.atoms, options.width, generator=generator) for _ in range(options.runs)]
    print(f"{options.runs} dictionaries of {options.atoms} x {options.width}, {torch.get_num_threads()} threads")
    before, started = _peak(), time.perf_counter()
    values = []
    for first, second in itertools.combinations(range(options.runs), 2):
        lap = time.perf_counter()
        values.append(matched_cosine(runs[first], runs[second]))
        print(
            f"pair {first}-{second}: matched cosine {values[-1]:.5f} in {time.perf_counter() - lap:.1f} s", flush=True
        )
    whole = time.perf_counter() - started
    mean = sum(values) / len(values)
    print(f"{len(values)} pairs in {whole:.1f} s, mean {mean:.5f}; peak memory {_peak():.0f} MB (before {before:.0f})")
    started = time.perf_counter()
    for first, second in itertools.combinations(runs, 2):
        first @ second.T
    product = time.perf_counter() - started
    report(f"matching / matrix product, {options.atoms} x {options.width}", whole / product)
    return 0


def _peak() -> float:
    """Return the largest resident memory so far, in MB."""
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


if __name__ == "__main__":
    sys.exit(main())
