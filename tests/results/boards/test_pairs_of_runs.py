"""The error of a mean over pairs of runs: by hand, by the definition of the jackknife, and how often it is right."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from harness.metrics.stability import matched_cosine
from results.boards.board import Aggregate
from results.boards.group_columns import pairs_error
from results.comparison.row_errors import pooled_error


def test_sums_of_three_runs_by_hand() -> None:
    """x = 1, 2, 6: pairs 3, 7, 8 have the mean 2 * 3, whose standard error is 2 * s / sqrt(3) with s^2 = 7."""
    error = pairs_error([[3.0, 7.0, 8.0]])
    assert error is not None
    assert error == (pytest.approx(2 * math.sqrt(7 / 3)), 2)
    # Twice what the spread over the three pairs would say, whatever they are.
    assert error[0] == pytest.approx(2 * np.std([3, 7, 8], ddof=1) / math.sqrt(3))


@pytest.mark.parametrize("runs", [3, 4, 6])
def test_sums_have_the_error_of_the_mean_of_what_is_summed(runs: int) -> None:
    x = np.random.default_rng(runs).normal(size=runs)
    error = pairs_error([[x[i] + x[j] for i, j in itertools.combinations(range(runs), 2)]])
    assert error == (pytest.approx(2 * x.std(ddof=1) / math.sqrt(runs)), runs - 1)


def test_what_gives_no_error() -> None:
    assert pairs_error([[0.5]]) is None and pairs_error([[]]) is None and pairs_error([]) is None
    assert pairs_error([[0.5, 0.6]]) is None
    assert pairs_error([[0.5, math.nan, 0.6]]) is None and pairs_error([[0.5, "NaN", 0.6]]) is None
    assert pairs_error([[0.5, 0.6, 0.7], [0.5]]) is None


def test_two_token_sets_are_two_samples_of_runs() -> None:
    one, two = [0.1, 0.2, 0.4], [0.5, 0.5, 0.8]
    alone = [error[0] for values in (one, two) if (error := pairs_error([values]))]
    assert pairs_error([one, two]) == (pytest.approx(math.hypot(*alone) / 2), 4)


def matched(generator: torch.Generator, runs: int) -> list[float]:
    """Matched cosines of runs that find the same atoms, one run more exactly than another."""
    atoms = torch.eye(12)
    dictionaries = []
    for _ in range(runs):
        noise = 0.15 * (0.3 * torch.randn(1, generator=generator)).exp()
        dictionaries.append(
            (atoms + noise * torch.randn(12, 12, generator=generator))[torch.randperm(12, generator=generator)]
        )
    return [matched_cosine(a, b) for a, b in itertools.combinations(dictionaries, 2)]


def test_the_interval_covers_where_the_spread_over_pairs_would_not() -> None:
    """600 draws: 95 % has a standard error of .9 points."""
    generator = torch.Generator().manual_seed(0)
    drawn = [matched(generator, 3) for _ in range(600)]
    truth = float(np.mean([value for values in drawn for value in values]))
    reach = stats.t.ppf(0.975, 2)
    errors = [(np.mean(values) - truth, pairs_error([values]), stats.sem(values)) for values in drawn]
    covered = np.mean([error is not None and abs(off) <= reach * error[0] for off, error, _ in errors])
    as_if_independent = np.mean([abs(off) <= reach * other for off, _, other in errors])
    assert as_if_independent < 0.88 < 0.93 <= covered


def test_a_place_on_the_front_is_drawn_with_that_error() -> None:
    values = (0.3, 0.7, 0.8)
    stability = Aggregate(
        mean=0.6,
        std=float(np.std(values, ddof=1)),
        n=3,
        values=values,
        standard_error=None,
        n_undefined=0,
        direction="higher",
        unit="",
        pairs_error=pairs_error([values]),
    )
    error = pooled_error(stability)
    assert (error.between, error.freedom) == (pytest.approx(0.04 * 7 / 3), 2)
