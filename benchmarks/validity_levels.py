"""Level of the tests of ``harness validity`` without any effect, also at the small levels of Holm's correction.

    python benchmarks/validity_levels.py                   # 2000 gaps per setting, 100 reports, some minutes
    python benchmarks/validity_levels.py --reports 400

*Gaps*: layers without a gap, whose values vary by a given standard deviation beyond that of their neurons (.061).
Prints the share of p-values below each level, of the p that is used, and of one that takes the degrees of freedom of
the neurons where these explain the spread of the layers (as the interval does), which is not valid at small levels.

*Reports*: 60 gaps and 200 rank correlations of 14 methods over 10 layers, all without effect. Prints the share of
reports with a rejection, without correction and with Holm's.

Fails if a share is above its level by more than three standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import numpy as np
import pandas as pd
from _report import report
from scipy.stats import t as student

from harness.planted.permutation import permutation_p
from harness.planted.statistics import _between_layers, _p_with_layers
from results.comparison.intervals import UNITS_EXPLAIN, holm

LEVELS = (0.05, 0.01, 0.001)
LAYERS = {
    "10 layers of 5 settings": list("aabbccddee"),
    "8 layers of 4 settings": list("aabbccdd"),
    "3 layers": ["a"] * 3,
}
OF_LAYER = (0.0, 0.06, 0.1, 0.3)
NEURONS = 24
OF_NEURONS = 0.3 / math.sqrt(NEURONS)


def drawn_gap(settings: list[str], of_layer: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (W,) gaps of layers and (W, R) gaps over redrawn neurons."""
    values = generator.normal(0, math.hypot(of_layer, OF_NEURONS), len(settings))
    estimated = OF_NEURONS * np.sqrt(generator.chisquare(NEURONS - 1, len(settings)) / NEURONS)
    return values, values[:, None] + estimated[:, None] * generator.normal(size=(len(settings), 200))


def p_as_interval(values: np.ndarray, drawn: np.ndarray, settings: list[str]) -> float:
    """Return the p-value with the neurons' degrees of freedom where they explain the layers."""
    between, freedom = _between_layers(values, settings)
    within = float(np.var(drawn.mean(0))) * NEURONS / (NEURONS - 1)
    explained = between <= UNITS_EXPLAIN * within
    variance, degrees = (within, len(values) * (NEURONS - 1)) if explained else (max(between, within), freedom)
    return float(2 * student.sf(abs(values.mean()) / math.sqrt(variance), degrees))


def gaps(n: int) -> bool:
    """Print the shares of small p-values of gaps; return True if one is too large."""
    failed = False
    for (name, settings), of_layer in ((layers, spread) for layers in LAYERS.items() for spread in OF_LAYER):
        generator = np.random.default_rng([1, len(settings), round(100 * of_layer)])
        draws = [drawn_gap(settings, of_layer, generator) for _ in range(n)]
        used = np.array([_p_with_layers(*draw, settings, NEURONS) for draw in draws], dtype=np.float64)
        other = np.array([p_as_interval(*draw, settings) for draw in draws])
        shares = [(level, float((used < level).mean()), float((other < level).mean())) for level in LEVELS]
        bad = any(share > level + 3 * math.sqrt(level / n) for level, share, _ in shares)
        failed |= bad
        text = ", ".join(f"p < {level}: {share:.4f} ({naive:.4f})" for level, share, naive in shares)
        print(f"{name}, layers vary by {of_layer}: {text}{'  wrong' if bad else ''}", flush=True)
    return failed


def one_report(generator: np.random.Generator) -> list[float | None]:
    """Return the p-values of one report without any effect."""
    settings = LAYERS["10 layers of 5 settings"]
    ps: list[float | None] = [
        _p_with_layers(*drawn_gap(settings, 0.06, generator), settings, NEURONS) for _ in range(60)
    ]
    recoveries = generator.normal(size=(4, 14))
    for _ in range(50):
        metric = generator.normal(size=14)
        for recovery in recoveries:
            layers = [
                pd.DataFrame({"x": metric + 0.3 * noise[0], "y": recovery + 0.3 * noise[1]})
                for noise in generator.normal(size=(10, 2, 14))
            ]
            ps.append(permutation_p(layers, seed=0))
    return ps


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaps", type=int, default=2000, help="simulated gaps per setting (default: 2000)")
    parser.add_argument("--reports", type=int, default=100, help="simulated reports (default: 100)")
    options = parser.parse_args()
    failed = gaps(options.gaps)
    started = time.perf_counter()
    plain, corrected = 0, 0
    for number in range(options.reports):
        ps = one_report(np.random.default_rng([2, number]))
        plain += any(p is not None and p < 0.05 for p in ps)
        corrected += any(p is not None and p < 0.05 for p in holm(ps))
    share = corrected / options.reports
    print(
        f"{options.reports} reports of {len(ps)} tests: with a rejection {plain / options.reports:.3f} uncorrected, "
        f"{share:.3f} with Holm's correction, {time.perf_counter() - started:.0f} s"
    )
    report("share of reports with a false rejection", share, note="should be at most 0.05")
    return int(failed or share > 0.05 + 3 * math.sqrt(0.05 * 0.95 / options.reports))


if __name__ == "__main__":
    sys.exit(main())
