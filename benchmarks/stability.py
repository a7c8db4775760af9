"""How long the stability of one method takes: three dictionaries of random atoms, the Hungarian matching of each pair.

    python benchmarks/stability.py                                  # 6144 x 768, as in the paper's Table 4
    python benchmarks/stability.py --atoms 24576 --width 768        # a transcoder's: minutes

Random atoms are a hard case for the matching: no atom has an obvious partner. Prints the seconds of each pair, the
value (about 0.130 for 6144 x 768, what chance gives) and the peak of memory.
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

from harness.metrics import matched_cosine


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=6144, help="atoms of a dictionary")
    parser.add_argument("--width", type=int, default=768, help="dimensions of an atom")
    parser.add_argument("--runs", type=int, default=3, help="dictionaries; every pair of them is matched")
    parser.add_argument("--seed", type=int, default=0)
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
    print(
        f"{len(values)} pairs in {whole:.1f} s, mean {mean:.5f}; peak of memory {_peak():.0f} MB (before {before:.0f})"
    )
    return 0


def _peak() -> float:
    """The largest resident memory so far, in MB."""
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


if __name__ == "__main__":
    sys.exit(main())
