"""Intervals, p-values and Holm: by hand, by definition, and how often they are right in planted settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from results.comparison.intervals import Block, Interval, _unit_variance, clustered, holm, influences_of, student
from results.comparison.unit_clusters import Part, blocks_of

SEEDS, RESAMPLES, DRAWS = 3, 200, 300


def split(generator: np.random.Generator, effect: np.ndarray, drift: np.ndarray) -> list[Part]:
    """Sub-units of neurons whose effects (G,) they share: 1 to 6 a neuron, others in each pair of seeds."""
    parts = []
    for seed in range(SEEDS):
        parent = np.repeat(np.arange(len(effect)), generator.integers(1, 7, len(effect)))
        values = effect[parent] + generator.normal(0, 0.5, len(parent)) + drift[seed]
        parts.append((np.arange(len(parent)), values, parent))
    return parts


def dictionary(generator: np.random.Generator, drift: np.ndarray, n: int = 150, alike: float = 0.0) -> list[Part]:
    """Units without a parent: others in each pair of seeds, or as much the same as the correlation ``alike`` says."""
    same = np.sqrt(alike) * generator.normal(0, 1, n)
    return [
        (
            np.arange(n),
            same + np.sqrt(1 - alike) * generator.normal(0, 1, n) + drift[seed],
            np.full(n, -1, dtype=np.int64),
        )
        for seed in range(SEEDS)
    ]


def as_units(parts: Sequence[Part]) -> list[Part]:
    """The same units, their neurons forgotten."""
    return [(names, values, np.full(len(names), -1, dtype=np.int64)) for names, values, _ in parts]


def intervals(kind: str, of_seed: float, alike: float = 0.0) -> list[Interval]:
    """Of :data:`DRAWS` planted pairs of rows whose true difference is 0."""
    generator = np.random.default_rng(5)
    drawn_intervals = []
    for _ in range(DRAWS):
        effect = generator.normal(0, 1, 40)
        # The paired rows of a seed share what the token set does to both.
        drift, other = generator.normal(0, of_seed, (2, SEEDS))
        a = split(generator, effect, drift) if kind != "two dictionaries" else dictionary(generator, drift, alike=alike)
        b = split(generator, effect, other) if kind == "two splits" else dictionary(generator, other, alike=alike)
        blocks, _ = blocks_of(as_units(a) if kind == "neurons forgotten" else a, b, itself=False)
        drawn_intervals.append(
            clustered(blocks, SEEDS, level=0.95, n_resamples=RESAMPLES, generator=generator)[1],
        )
    return drawn_intervals


def coverage(drawn_intervals: Sequence[Interval]) -> float:
    hits = [low <= 0 <= high for low, high, _ in drawn_intervals if low is not None and high is not None]
    assert len(hits) == DRAWS
    return sum(hits) / DRAWS


@pytest.mark.parametrize("of_seed", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["two splits", "split and dictionary", "two dictionaries"])
def test_intervals_of_95_percent_cover_about_95_percent(kind: str, of_seed: float) -> None:
    """300 draws: the share has a standard error of 1.3 points. `benchmarks/interval_coverage.py` draws more."""
    drawn_intervals = intervals(kind, of_seed)
    assert 0.905 <= coverage(drawn_intervals) <= 0.995
    # And the tests of no difference, where there is none, are wrong in at most about one of twenty.
    assert sum(p is not None and p < 0.05 for _, _, p in drawn_intervals) / DRAWS <= 0.095


@pytest.mark.parametrize("alike", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("of_seed", [0.0, 0.15])
def test_units_that_are_alike_in_all_pairs_of_seeds_are_no_new_sample(of_seed: float, alike: float) -> None:
    """An autoencoder that starts from the same initialisation finds much the same units on other tokens (.74 on the
    demo), a random dictionary the very same. Redrawing them apart in each pair of seeds covered 71 % where alike is 1,
    and taking a small spread of three seeds at its word 88 % where they drift by .15."""
    assert 0.905 <= coverage(intervals("two dictionaries", of_seed, alike)) <= 0.995


def test_redrawing_units_instead_of_their_neurons_would_cover_far_less() -> None:
    """The twin that shows what the clusters are for: sub-units of a neuron are alike, in all pairs of seeds."""
    assert coverage(intervals("neurons forgotten", 0.0)) < 0.88 < coverage(intervals("split and dictionary", 0.0))


def test_students_interval_of_three_seeds_covers_95_percent() -> None:
    generator = np.random.default_rng(2)
    drawn_intervals = [student(generator.normal(0, 0.7, 3), 0.95) for _ in range(4000)]
    covered = np.mean([low <= 0 <= high for low, high, _ in drawn_intervals if low is not None and high is not None])
    # 4000 draws: a standard error of 0.34 points.
    assert covered == pytest.approx(0.95, abs=0.012)
    assert np.mean([p < 0.05 for *_, p in drawn_intervals if p is not None]) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("differences", [[1.0, 2.0], [1.0, 2.0, 4.0], [-3.0, 0.5, 0.25, 1.0]])
def test_students_interval_is_that_of_scipy(differences: list[float]) -> None:
    expected = stats.ttest_1samp(differences, 0)
    low, high, p = student(np.array(differences), 0.9)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert p == pytest.approx(expected.pvalue)


def test_one_seed_gives_no_interval() -> None:
    assert student(np.array([0.3]), 0.95) == (None, None, None)


def test_without_variation_of_units_the_clustered_interval_is_students() -> None:
    """All units of A are 10, 20 and 40 in the three pairs of seeds, and all of B are 0."""
    per_seed = np.array([10.0, 20.0, 40.0])
    names, no_parent = np.arange(5), np.full(5, -1)
    a = [(names, np.full(5, value), no_parent) for value in per_seed]
    b = [(names, np.zeros(5), no_parent) for _ in per_seed]
    blocks, _ = blocks_of(a, b, itself=False)
    generator = np.random.default_rng(0)
    estimate, (low, high, _) = clustered(blocks, 3, level=0.8, n_resamples=20_000, generator=generator)
    exact = stats.t(2, per_seed.mean(), per_seed.std(ddof=1) / np.sqrt(3)).interval(0.8)
    # A quantile of 20 000 draws has a standard error of 1.5 % of the interval's half width.
    assert estimate == pytest.approx(per_seed.mean())
    assert (low, high) == pytest.approx(exact, abs=0.05 * (exact[1] - estimate))


class TestUnitVariance:
    """The variance of a mean over clusters, by hand."""

    def variance(self, values: list[list[float]]) -> float:
        """Of A's mean over pairs of seeds, with one unit per cluster: values[cluster][pair of seeds]."""
        sums = np.array(values)
        n_clusters, n_seeds = sums.shape
        block = Block(sums, np.ones_like(sums), np.ones(n_seeds, dtype=int), np.arange(n_seeds))
        # Axes of the totals: resample, side, pair of seeds. B has one unit of value 0.
        total = np.stack([sums.sum(0), np.zeros(n_seeds)])[None]
        count = np.stack([np.full(n_seeds, n_clusters), np.ones(n_seeds)])[None]
        return _unit_variance([block], [influences_of(block, n_seeds, count, total)])

    def test_of_one_pair_of_seeds_it_is_the_squared_standard_error(self) -> None:
        # Two clusters: s^2 = 2, s^2 / 2 = 1. Three clusters: s^2 = (4 + 1 + 9) / 2 = 7, s^2 / 3.
        assert self.variance([[1], [3]]) == pytest.approx(1)
        assert self.variance([[1], [2], [6]]) == pytest.approx(7 / 3)

    def test_a_single_cluster_has_no_variance(self) -> None:
        assert self.variance([[5]]) == 0

    def test_what_is_equal_in_all_pairs_of_seeds_does_not_part_them(self) -> None:
        assert self.variance([[1, 1], [2, 2], [6, 6]]) == pytest.approx(0)

    def test_what_differs_between_pairs_of_seeds_parts_them(self) -> None:
        # Influences (-1/2, 1/2) and (1/2, -1/2): squares sum to 1; / (T (T - 1)) = 1/2; G / (G - 1) = 2.
        assert self.variance([[1, 3], [3, 1]]) == pytest.approx(1)


def test_no_p_value_is_0() -> None:
    """However clear the difference: at the least two resamples of all and the one that was seen."""
    generator = np.random.default_rng(0)
    clear = [(np.arange(50), generator.normal(9, 0.1, 50), np.full(50, -1)) for _ in range(SEEDS)]
    blocks, _ = blocks_of(clear, dictionary(generator, np.zeros(SEEDS)), itself=False)
    _, (_, _, p) = clustered(blocks, SEEDS, level=0.95, n_resamples=RESAMPLES, generator=generator)
    assert p == 2 / (RESAMPLES + 1)
    _, _, of_seeds = student(np.array([1.0, 1.0, 1.0 + 1e-9]), 0.95)
    assert of_seeds is not None and 0 < of_seeds < 1e-8
    assert holm([p, of_seeds]) == [p, 2 * of_seeds]


class TestHolm:
    def test_by_hand(self) -> None:
        """m = 5, sorted .004 .011 .015 .04 .6, times 5 4 3 2 1: .02 .044 .045 .08 .6, none below the one before."""
        assert holm([0.04, 0.004, 0.6, 0.011, 0.015]) == pytest.approx([0.08, 0.02, 0.6, 0.044, 0.045])
        # .02 * 3 = .06; .021 * 2 = .042 is raised to it.
        assert holm([0.021, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
        assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
        assert holm([None, None]) == [None, None] and holm([]) == []

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
    def test_rejects_what_stepping_down_rejects(self, p_values: list[float], level: float) -> None:
        """Holm's own words: from the smallest on, while the i-th is at most level / (m - i + 1)."""
        rejected, m = set(), len(p_values)
        for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
            # A whisker wider than the rounding of one product.
            if p_values[index] * (m - rank) > level:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(holm(p_values)) if p is not None and p <= level} == rejected

    def test_any_false_find_among_ten_is_as_rare_as_it_says(self) -> None:
        """Ten true hypotheses, independent: 1 - (1 - .05 / 10)^10 = .0489 of the families have a false find."""
        p = np.random.default_rng(4).uniform(size=(4000, 10))
        wrong = [min(corrected for corrected in holm(list(row)) if corrected is not None) <= 0.05 for row in p]
        assert np.mean(wrong) == pytest.approx(1 - (1 - 0.005) ** 10, abs=0.011)


def test_the_error_of_a_single_cluster_is_unknown() -> None:
    """Seeds that agree say nothing about another neuron; a row against itself has no error at all."""
    values = np.array([[0.50, 0.52, 0.51, 0.40, 0.41, 0.42]])
    sides, seeds = np.repeat([1, -1], SEEDS), np.tile(np.arange(SEEDS), 2)
    itself = np.tile(values[:, :SEEDS], 2)
    for sums, expected in ((values, Interval(None, None, None)), (itself, Interval(0.0, 0.0, 1.0))):
        block = Block(sums, np.ones_like(sums), sides, seeds)
        _, interval = clustered([block], SEEDS, level=0.95, n_resamples=RESAMPLES, generator=np.random.default_rng(0))
        assert interval == expected
