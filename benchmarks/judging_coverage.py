"""Coverage of the 95 % interval of win rates over simulated tournaments whose two orders are correlated.

    python benchmarks/judging_coverage.py                                        # 200 tournaments, half a minute
    python benchmarks/judging_coverage.py --tournaments 1000 --resamples 1000    # several minutes

Each tournament has methods of planted quality. For every pair of methods it has unit pairs, whose quality difference is
drawn once and shared by both orders and all judges. Judges add noise and a bias towards the grid that is first. The
truth is the expected win rate of that process, from many more unit pairs. Prints one line per setting. Fails if a
coverage is outside of 93 to 97 % by more than two standard errors of the number of tournaments.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import combinations

import numpy as np
import pandas as pd
from _report import report

from harness.stats import win_rates

#: (name, methods, unit pairs per pair of methods, spread of unit pairs, noise of the judges, position bias)
SETTINGS = (
    ("orders nearly equal", 4, 50, 1.0, 0.1, 0.0),
    ("orders correlated", 4, 50, 1.0, 0.6, 0.2),
    ("strong position bias", 4, 50, 0.7, 0.5, 0.8),
    ("orders independent", 4, 50, 0.05, 1.0, 0.0),
    ("few unit pairs", 4, 15, 1.0, 0.6, 0.2),
    ("ten methods", 10, 50, 1.0, 0.6, 0.2),
)
JUDGES = 3


def answers(generator: np.random.Generator, gaps: np.ndarray, pairs: int, setting: tuple) -> np.ndarray:
    """Return a (n_meetings, pairs, 2, judges) bool mask: the first method of the meeting is chosen."""
    _, _, _, spread, noise, bias = setting
    unit = gaps[:, None] + spread * generator.standard_normal((len(gaps), pairs))
    position = np.array([1.0, -1.0])[None, None, :, None] * bias
    judge = noise * generator.standard_normal((len(gaps), pairs, 2, JUDGES))
    return unit[:, :, None, None] + position + judge > 0


def frame_of(chosen: np.ndarray, meetings: list[tuple[int, int]]) -> pd.DataFrame:
    """Return the answers as the table that :func:`harness.stats.win_rates` reads."""
    m, p, o, j = np.indices(chosen.shape).reshape(4, -1)
    x, y = np.array(meetings)[m].T
    first_is_a = o == 0
    picked = chosen.reshape(-1)
    return pd.DataFrame(
        {
            "pair_id": m * chosen.shape[1] + p,
            "method_a": np.where(first_is_a, x, y),
            "method_b": np.where(first_is_a, y, x),
            "order": o,
            "judge": j,
            "answer": np.where(picked == first_is_a, "A", "B"),
        }
    )


def truth(gaps: np.ndarray, meetings: list[tuple[int, int]], size: int, setting: tuple) -> np.ndarray:
    """Return the (size,) expected win rate of each method."""
    chosen = answers(np.random.default_rng(10**9), gaps, 20_000, setting).sum(-1) > JUDGES / 2
    rate = chosen.mean((1, 2))
    wins, n = np.zeros(size), np.zeros(size)
    for (x, y), share in zip(meetings, rate, strict=True):
        wins[x] += share
        wins[y] += 1 - share
        n[[x, y]] += 1
    return wins / n


def coverage(setting: tuple, tournaments: int, resamples: int) -> tuple[float, float, float]:
    """Return the coverage, the mean width of the interval, and the coverage without clusters of two orders."""
    _, size, pairs, *_ = setting
    meetings = list(combinations(range(size), 2))
    quality = np.linspace(0.6, -0.6, size)
    gaps = np.array([quality[x] - quality[y] for x, y in meetings])
    right = truth(gaps, meetings, size, setting)
    inside, naive, width = [], [], []
    for number in range(tournaments):
        frame = frame_of(answers(np.random.default_rng([7, number]), gaps, pairs, setting), meetings)
        rates = win_rates(frame, n_resamples=resamples, seed=number).sort_values("method")
        inside.append((rates["ci_low"] <= right) & (right <= rates["ci_high"]))
        width.append((rates["ci_high"] - rates["ci_low"]).mean())
        alone = win_rates(
            frame.assign(pair_id=frame["pair_id"] * 2 + frame["order"]), n_resamples=resamples, seed=number
        ).sort_values("method")
        naive.append((alone["ci_low"] <= right) & (right <= alone["ci_high"]))
    return float(np.mean(inside)), float(np.mean(width)), float(np.mean(naive))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tournaments", type=int, default=200, help="simulated tournaments per setting (default: 200)")
    parser.add_argument("--resamples", type=int, default=400, help="bootstrap resamples per tournament (default: 400)")
    options = parser.parse_args()
    failed = False
    tolerance = 0.02 + 2 * (0.05 * 0.95 / options.tournaments) ** 0.5
    print(f"{options.tournaments} tournaments, {options.resamples} resamples, {JUDGES} judges")
    for setting in SETTINGS:
        started = time.perf_counter()
        share, width, naive = coverage(setting, options.tournaments, options.resamples)
        bad = abs(share - 0.95) > tolerance
        failed |= bad
        print(
            f"{setting[0]:22s} methods {setting[1]:2d}, unit pairs {setting[2]:2d}: coverage {100 * share:.2f} % "
            f"(not clustered: {100 * naive:.2f} %), width {100 * width:.1f} points, "
            f"{time.perf_counter() - started:.0f} s{'  wrong' if bad else ''}",
            flush=True,
        )
        report(f"coverage of the 95 % interval, {setting[0]}", share, note="should be near 0.95")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
