"""Coverage of the two 95 % intervals of win rates if units differ, and each takes part in many unit pairs.

    python benchmarks/new_unit_coverage.py                        # 60 tournaments per setting, about two minutes
    python benchmarks/new_unit_coverage.py --tournaments 300      # ten minutes

Each method of a simulated tournament has units of different quality. Unit pairs are drawn as in
:mod:`harness.judging.pairs`: a meeting uses every unit before it repeats one. The win probability of a presentation
follows from the difference in quality, the noise of three judges and their bias towards the first grid.

- ``new``: coverage of new_low to new_high for the expected win rate over new units of each method. Fails if it is
  outside of 93 to 97 % by more than two standard errors of the number of tournaments.
- ``these``: coverage of ci_low to ci_high for the expected win rate of the judged units, over all their pairings. It
  resamples unit pairs as if they were independent, so it is at least 95 %.
- ``pairs for new``: coverage of ci_low to ci_high for new units, which it is not for.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import combinations
from typing import NamedTuple

import numpy as np
from _report import report
from scipy.special import ndtr, ndtri

from harness.judging.pairs import draw
from harness.stats.tally import Tally
from harness.stats.win_rates import scored


class Setting(NamedTuple):
    """One simulated kind of tournament."""

    name: str
    n_units: int
    """units per method and token seed"""
    n_methods: int = 8
    pairs: int = 50
    """unit pairs per pair of methods and token seed"""
    seeds: int = 1
    same_units: bool = True
    """the token seeds have the same units"""
    spread: float = 1.0
    """standard deviation of the quality of a method's units"""
    shared: float = 0.0
    """share of its variance that units of the same index have in common over the first half of the methods"""
    best: float = 0.5
    """quality of the best method; the worst has its negative"""
    noise: float = 0.6
    """standard deviation of a judge's noise"""
    bias: float = 0.2
    """quality that the first grid gains"""


SETTINGS = (
    *(Setting("units differ", n) for n in (24, 48, 100, 1000)),
    *(Setting("units differ much", n, spread=2.0) for n in (24, 48, 100)),
    *(Setting("units are alike", n, spread=0.0) for n in (24, 48, 100)),
    *(Setting("three seeds, other units", n, seeds=3, same_units=False) for n in (24, 48)),
    *(Setting("three seeds, same units", n, seeds=3) for n in (24, 48, 100)),
    *(Setting("neurons shared by methods", n, shared=0.7) for n in (24, 48, 100)),
    *(Setting("rates from 5 to 95 %", n, best=2.5) for n in (24, 48)),
    Setting("three methods", 48, n_methods=3),
    Setting("few unit pairs", 48, pairs=15),
)
#: The expected win rate of the judged units is not computed for more units per method than this.
MOST_UNITS = 100


def won(gaps: np.ndarray, setting: Setting) -> np.ndarray:
    """Return the probability that two of three judges choose the first method, averaged over both orders."""
    votes = [ndtr((gaps + bias) / setting.noise) for bias in (setting.bias, -setting.bias)]
    return np.asarray(sum(p * p * (3 - 2 * p) for p in votes) / 2)


def qualities(generator: np.random.Generator, setting: Setting) -> np.ndarray:
    """Return the (methods, seeds, units) quality of units."""
    shape = (setting.n_methods, setting.seeds, setting.n_units)
    if setting.same_units:
        shape = (setting.n_methods, 1, setting.n_units)
    own, common = generator.standard_normal(shape), generator.standard_normal(shape[1:])
    of_neurons = np.sqrt(1 - setting.shared) * own + np.sqrt(setting.shared) * common
    sharing = (np.arange(setting.n_methods) < setting.n_methods // 2)[:, None, None]
    quality = means(setting)[:, None, None] + setting.spread * np.where(sharing, of_neurons, own)
    return np.broadcast_to(quality, (setting.n_methods, setting.seeds, setting.n_units))


def means(setting: Setting) -> np.ndarray:
    """Return the (methods,) mean quality of the units of each method."""
    return np.linspace(setting.best, -setting.best, setting.n_methods)


def expected(setting: Setting) -> np.ndarray:
    """Return the (methods,) win rates over new units."""
    grid = ndtri((np.arange(4000) + 0.5) / 4000)
    rates = np.full((setting.n_methods, setting.n_methods), np.nan)
    for i, j in combinations(range(setting.n_methods), 2):
        gap = means(setting)[i] - means(setting)[j]
        rate = won(gap + setting.spread * np.sqrt(2) * grid, setting).mean()
        if j < setting.n_methods // 2:
            # Of the pairs of units, one in n_units shows two units with a common part.
            same = won(gap + setting.spread * np.sqrt(2 * (1 - setting.shared)) * grid, setting).mean()
            rate += (same - rate) / setting.n_units
        rates[i, j], rates[j, i] = rate, 1 - rate
    return np.asarray(np.nanmean(rates, axis=1))


def of_these(quality: np.ndarray, setting: Setting) -> np.ndarray:
    """Return the (methods,) win rates over all pairings of the units with these qualities."""
    rates = np.full((setting.n_methods, setting.n_methods), np.nan)
    for i, j in combinations(range(setting.n_methods), 2):
        seeds = range(1 if setting.same_units else setting.seeds)
        sides = [(quality[i, s], quality[j, s]) for s in seeds]
        rate = np.mean([won(a[:, None] - b[None], setting).mean() for a, b in sides])
        rates[i, j], rates[j, i] = rate, 1 - rate
    return np.asarray(np.nanmean(rates, axis=1))


def tournament(generator: np.random.Generator, quality: np.ndarray, setting: Setting) -> Tally:
    """Return the comparisons of one simulated tournament."""
    columns: list[np.ndarray] = []
    index = np.arange(setting.n_methods * setting.n_units).reshape(setting.n_methods, -1)
    if setting.shared:
        index[: setting.n_methods // 2] = index[0]
    for i, j in combinations(range(setting.n_methods), 2):
        for seed in range(setting.seeds):
            units = [np.array(draw(int(generator.integers(2**31)), setting.n_units, setting.pairs)) for _ in range(2)]
            gap = quality[i, seed, units[0]] - quality[j, seed, units[1]]
            wins = np.zeros(setting.pairs, dtype=np.int64)
            for bias in (setting.bias, -setting.bias):
                p = ndtr((gap + bias) / setting.noise)
                wins += generator.random(setting.pairs) < p * p * (3 - 2 * p)
            code = 0 if setting.same_units else seed * index.size
            columns.append(
                np.stack(
                    [
                        *(np.full(setting.pairs, value) for value in (i, j)),
                        wins,
                        index[i, units[0]] + code,
                        index[j, units[1]] + code,
                    ]
                )
            )
    first, second, wins, unit_first, unit_second = np.concatenate(columns, axis=1)
    names = [f"m{number:02d}" for number in range(setting.n_methods)]
    return Tally(names, first, second, wins, np.full(len(wins), 2), np.zeros(len(wins), int), unit_first, unit_second)


def coverage(setting: Setting, tournaments: int, resamples: int) -> dict[str, float]:
    """Return the coverage of the intervals and the mean width of that for new units."""
    right = expected(setting)
    rows = []
    for number in range(tournaments):
        generator = np.random.default_rng([11, number])
        quality = qualities(generator, setting)
        table = scored(tournament(generator, quality, setting), n_resamples=resamples, seed=number)
        table = table.sort_values("method")
        these = of_these(quality, setting) if setting.n_units <= MOST_UNITS else np.full(len(right), np.nan)
        rows.append(
            (
                table["new_low"].between(0, right) & table["new_high"].between(right, 1),
                (table["ci_low"] <= these) & (these <= table["ci_high"]),
                table["ci_low"].between(0, right) & table["ci_high"].between(right, 1),
                table["new_high"] - table["new_low"],
            )
        )
    means_of = np.mean(np.array(rows, dtype=float), axis=(0, 2))
    return dict(zip(("new", "these", "pairs for new", "width"), means_of.tolist(), strict=True))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tournaments", type=int, default=60, help="simulated tournaments per setting (default: 60)")
    parser.add_argument("--resamples", type=int, default=200, help="bootstrap resamples per tournament (default: 200)")
    options = parser.parse_args()
    failed = False
    tolerance = 0.02 + 2 * (0.05 * 0.95 / options.tournaments) ** 0.5
    print(f"{options.tournaments} tournaments per setting; coverage of 95 % intervals in %")
    print(f"{'setting':28s}{'units':>6s}{'new':>8s}{'width':>8s}{'these':>8s}{'pairs for new':>16s}")
    started = time.perf_counter()
    for setting in SETTINGS:
        shares = coverage(setting, options.tournaments, options.resamples)
        bad = abs(shares["new"] - 0.95) > tolerance
        failed |= bad
        these = "–" if setting.n_units > MOST_UNITS else f"{100 * shares['these']:.1f}"
        print(
            f"{setting.name:28s}{setting.n_units:6d}{100 * shares['new']:8.1f}{100 * shares['width']:8.1f}{these:>8s}"
            f"{100 * shares['pairs for new']:16.1f}{'  wrong' if bad else ''}",
            flush=True,
        )
        report(f"coverage for new units, {setting.name}, {setting.n_units}", shares["new"], note="should be near 0.95")
    print(f"{time.perf_counter() - started:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
