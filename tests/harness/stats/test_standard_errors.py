"""Standard errors against their textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats import standard_error_from_sums


@pytest.mark.parametrize("values", [[0.5, 0.75], [1.0, 2.0, 4.0], [0.1, 0.2, 0.2, 0.3], [-3.0, 3.0]])
def test_the_standard_error_from_sums_is_that_of_a_mean(values: list[float]) -> None:
    mean, error = standard_error_from_sums(sum(values), sum(value**2 for value in values), len(values))
    assert mean == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)))


def test_one_observation_has_a_mean_and_no_standard_error() -> None:
    assert standard_error_from_sums(0.3, 0.09, 1) == (0.3, None)


def test_no_observations_have_no_mean() -> None:
    mean, error = standard_error_from_sums(0.0, 0.0, 0)
    assert math.isnan(mean) and error is None


def test_equal_observations_have_a_standard_error_of_0() -> None:
    """Rounding makes the sum of squares of three times 0.1 smaller than its mean allows."""
    total, squares = 0.1 + 0.1 + 0.1, 0.1**2 + 0.1**2 + 0.1**2
    assert squares / 3 - (total / 3) ** 2 < 0
    assert standard_error_from_sums(total, squares, 3)[1] == 0
