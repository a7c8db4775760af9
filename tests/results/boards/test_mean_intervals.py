"""Errors of means: closed forms, and the coverage of the intervals in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.boards.board import Aggregate
from results.boards.mean_intervals import Variance, confidence_interval, reach


def aggregate(values: list[float], error: float | None = None, **changes: object) -> Aggregate:
    fields: dict[str, object] = {
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "n": len(values),
        "values": tuple(values),
        "standard_error": error,
        "n_undefined": 0,
        "direction": "higher",
        "unit": "",
    }
    return Aggregate(**(fields | changes))  # type: ignore[arg-type]


def test_the_total_error_adds_the_variances_of_seeds_and_cells() -> None:
    three = aggregate([1.0, 2.0, 3.0], 0.5)
    assert three.total_error == pytest.approx(math.sqrt(1 / 3 + 0.25))
    assert aggregate([1.0, 2.0, 3.0]).total_error == pytest.approx(math.sqrt(1 / 3))
    # Equal values of seeds do not hide the error of the images.
    assert aggregate([0.74] * 3, 0.044).total_error == pytest.approx(0.044)
    assert aggregate([0.74], 0.044).total_error == pytest.approx(0.044)
    assert aggregate([0.3, 0.7, 0.8], pairs_error=(0.3, 2)).total_error == pytest.approx(0.3)
    assert aggregate([0.5], interval=(0.4, 0.6)).total_error == pytest.approx(0.1 / 1.96, rel=1e-4)


def test_what_is_not_known_is_no_error() -> None:
    assert aggregate([1.0]).total_error is None and aggregate([2.0, 2.0]).total_error is None
    assert confidence_interval(aggregate([1.0])) is None
    assert aggregate([1.0], 0.0).total_error == 0.0


def test_intervals_are_students_the_normal_one_or_between_them() -> None:
    low, high = confidence_interval(aggregate([1.0, 2.0, 3.0])) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) / math.sqrt(3))
    low, high = confidence_interval(aggregate([1.0], 0.5)) or (0.0, 0.0)
    assert (low, high) == pytest.approx((1 - 1.96 * 0.5, 1 + 1.96 * 0.5), abs=1e-3)
    # Equal variances with 2 and 4 degrees of freedom: nu = 2^2 / (1 / 2 + 1 / 4) = 16 / 3.
    assert reach([Variance(1.0, 2), Variance(1.0, 4)]) == pytest.approx(stats.t.ppf(0.975, 16 / 3) * math.sqrt(2))
    assert reach([]) == 0.0 and reach([Variance(0.0, 2)]) == 0.0
    assert reach([Variance(1e-200, 2)]) == pytest.approx(stats.t.ppf(0.975, 2) * 1e-100)


def test_the_interval_of_a_fraction_ends_at_one() -> None:
    assert confidence_interval(aggregate([0.99], 0.1, unit="fraction")) == (pytest.approx(0.794, abs=1e-3), 1.0)
    # r2 may be below 0, and a pooled interval stays as it is.
    assert (confidence_interval(aggregate([0.0], 0.1, unit="fraction")) or (0, 0))[0] < 0
    assert confidence_interval(aggregate([0.5], interval=(0.4, 0.7), unit="fraction")) == (0.4, 0.7)


def covered(seeds: tuple[int, ...], share: float, n_draws: int = 4000) -> float:
    """Return the coverage of 95 % intervals of a mean, or of a difference of two, whose variance is 1.

    Args:
        seeds: number of seeds of each mean.
        share: part of the variance that is within cells and known; the rest is that of the seeds.
    """
    generator = np.random.default_rng([*seeds, round(100 * share)])
    estimate = math.sqrt(share) * generator.standard_normal(n_draws)
    parts: list[list[Variance]] = [[Variance(share, math.inf)] for _ in range(n_draws)]
    for side, n in enumerate(seeds):
        drawn = math.sqrt((1 - share) / len(seeds) * n) * generator.standard_normal((n_draws, n))
        estimate += (-1) ** side * drawn.mean(1)
        for draw, variance in enumerate(drawn.var(1, ddof=1) / n):
            parts[draw].append(Variance(float(variance), n - 1))
    return float(np.mean([abs(value) <= reach(of_draw) for value, of_draw in zip(estimate, parts, strict=True)]))


@pytest.mark.parametrize("seeds", [(3,), (5,), (3, 3), (3, 5)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_interval_of_a_mean_and_of_a_difference_cover(seeds: tuple[int, ...], share: float) -> None:
    """4000 draws: 95 % has a standard error of .34 points."""
    assert 0.935 <= covered(seeds, share) <= 0.98


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_two_seeds_that_agree_by_chance_do_not_make_it_narrow(share: float) -> None:
    """With the degrees of freedom of all parts together it covers .87."""
    assert covered((2,), share) > 0.925


def test_units_that_are_other_samples_in_each_seed_make_it_too_wide_not_too_narrow() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.standard_normal((4000, 3))  # all of the variance is that of the units, drawn anew for each seed
    spans = [confidence_interval(aggregate(list(row), 1.0)) or (0.0, 0.0) for row in drawn]
    assert np.mean([low <= 0 <= high for low, high in spans]) > 0.99
