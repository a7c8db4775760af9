"""Coverage of the 95 % intervals of `harness compare` over simulated pairs of rows without a difference.

    python benchmarks/interval_coverage.py                  # 400 pairs of rows per setting, half a minute
    python benchmarks/interval_coverage.py --pairs 4000     # standard errors of .3 points

Every setting has three pairs of seeds and draws both rows from one distribution, so the true difference is 0. Units:
splits of 40 neurons with 1 to 6 sub-units each, and dictionaries of 150 units whose values correlate between the pairs
of seeds (`alike`); the rows of a pair of seeds drift by a common amount (`drift`, in standard deviations of a unit).
The companion is the MS score above chance, with a null per unit. Images: both rows are right on the same images, except
for a share (`differ`) on which they answer at random. Scores: no values per unit or image are stored, and only each
score's own standard error is known. Intervals of few images that differ are too wide, because outcomes are discrete.
Fails if a coverage is below 93 % by more than two standard errors of the number of pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
from _report import report

from results.comparison.intervals import Block, Interval, clustered, with_sampling_error
from results.comparison.unit_clusters import Part, blocks_of
from results.comparison.unit_values import UNIT_VALUES

SEEDS, RESAMPLES = 3, 400
Draw = Callable[[np.random.Generator], Interval]


def split(generator: np.random.Generator, effect: np.ndarray, drift: np.ndarray) -> list[Part]:
    """Return sub-units of neurons whose effects (G,) they share: 1 to 6 per neuron, others in each pair of seeds."""
    parts = []
    for seed in range(SEEDS):
        parent = np.repeat(np.arange(len(effect)), generator.integers(1, 7, len(effect)))
        values = effect[parent] + generator.normal(0, 0.5, len(parent)) + drift[seed]
        parts.append((np.arange(len(parent)), values, parent))
    return parts


def dictionary(generator: np.random.Generator, drift: np.ndarray, alike: float, n: int = 150) -> list[Part]:
    """Return units without a parent whose values correlate by `alike` between the pairs of seeds."""
    common = np.sqrt(alike) * generator.normal(0, 1, n)
    of_seed = np.sqrt(1 - alike) * generator.normal(0, 1, (SEEDS, n))
    return [(np.arange(n), common + of_seed[seed] + drift[seed], np.full(n, -1)) for seed in range(SEEDS)]


def units(kind: str, drift: float, alike: float = 0.0) -> Draw:
    """Return a setting of means over units."""

    def draw(generator: np.random.Generator) -> Interval:
        effect = generator.normal(0, 1, 40)
        first, second = generator.normal(0, drift, (2, SEEDS))
        a = dictionary(generator, first, alike) if kind == "two dictionaries" else split(generator, effect, first)
        b = split(generator, effect, second) if kind == "two splits" else dictionary(generator, second, alike)
        return interval(blocks_of(a, b, itself=False)[0], generator)

    return draw


def companion(drift: float) -> Draw:
    """Return a setting of the MS score above chance: scores and nulls of two dictionaries, correlated within a unit."""
    adjusted = UNIT_VALUES["ms_score_adjusted"].values

    def draw(generator: np.random.Generator) -> Interval:
        sides = []
        for drifts in generator.normal(0, drift, (2, SEEDS)):
            parts = []
            for seed in range(SEEDS):
                null = generator.beta(8, 8, 150)
                score = null + (1 - null) * generator.beta(2, 8, 150) + 0.05 * drifts[seed]
                parts.append((np.arange(150), adjusted(score, null), np.full(150, -1)))
            sides.append(parts)
        return interval(blocks_of(*sides, itself=False)[0], generator)

    return draw


def images(n: int, differ: float, shared: float) -> Draw:
    """Return a setting of shares of images; a part `shared` of the images that differ is the same for all seeds."""

    def draw(generator: np.random.Generator) -> Interval:
        right = generator.random(n) < 0.78
        columns = []
        for _ in range(2):
            fixed = generator.random(n) < differ * shared
            for _ in range(SEEDS):
                changed = fixed | (generator.random(n) < differ * (1 - shared))
                columns.append(np.where(changed, generator.random(n) < 0.78, right).astype(np.float64))
        sides, seeds = np.repeat([1, -1], SEEDS), np.tile(np.arange(SEEDS), 2)
        return interval([Block(np.stack(columns, 1), np.ones((n, 2 * SEEDS)), sides, seeds, 1 / n)], generator)

    return draw


def scores(error: float, drift: float) -> Draw:
    """Return a setting of scores with a standard error that all seeds share, and a drift of the seeds."""

    def draw(generator: np.random.Generator) -> Interval:
        differences = generator.normal(0, drift, SEEDS) + generator.normal(0, error)
        return with_sampling_error(differences, error, level=0.95, n_resamples=RESAMPLES, generator=generator)

    return draw


def interval(blocks: list[Block], generator: np.random.Generator) -> Interval:
    """Return the interval of `harness compare`."""
    return clustered(blocks, SEEDS, level=0.95, n_resamples=RESAMPLES, generator=generator)[1]


SETTINGS: dict[str, Draw] = {
    **{f"two splits, drift {drift:g}": units("two splits", drift) for drift in (0, 0.1, 0.2, 0.5)},
    **{f"split and dictionary, drift {drift:g}": units("split and dictionary", drift) for drift in (0, 0.2, 0.5)},
    **{
        f"two dictionaries, alike {alike:g}, drift {drift:g}": units("two dictionaries", drift, alike)
        for alike in (0, 0.7, 1)
        for drift in (0, 0.15, 0.5)
    },
    **{f"MS above chance, drift {drift:g}": companion(drift) for drift in (0, 0.5)},
    **{
        f"{n} images, {100 * differ:g} % differ, {100 * shared:g} % of them for all seeds": images(n, differ, shared)
        for n, differ, shared in ((100, 0.05, 0.5), (100, 0.3, 1), (100, 0.5, 0), (1000, 0.05, 0.5), (1000, 0.2, 1))
    },
    **{f"scores, drift {drift:g} errors": scores(1.0, drift) for drift in (0, 0.5, 2)},
}


def main() -> int:
    """Print the coverage of each setting; return 1 if one is too low."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400, help="pairs of rows per setting; default: 400")
    pairs = parser.parse_args().pairs
    least = 0.93 - 2 * np.sqrt(0.93 * 0.07 / pairs)
    failed, coverages = False, []
    print(f"{'coverage':>8}  {'p < .05':>7}  setting ({pairs} pairs of rows)")
    for number, (name, draw) in enumerate(SETTINGS.items()):
        generator = np.random.default_rng([7, number])
        drawn = [draw(generator) for _ in range(pairs)]
        covered = np.mean([low is not None and high is not None and low <= 0 <= high for low, high, _ in drawn])
        significant = np.mean([p is not None and p < 0.05 for *_, p in drawn])
        failed |= bool(covered < least)
        print(f"{covered:8.3f}  {significant:7.3f}  {name}{'  TOO LOW' if covered < least else ''}", flush=True)
        coverages.append(float(covered))
    report("lowest coverage / .95", min(coverages) / 0.95, note="should be at least .98")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
