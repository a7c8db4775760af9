"""Permutation test of rank correlations: against all orders, on known points, and its level."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from harness.planted.permutation import PERMUTATIONS, permutation_p


def layer(x: np.ndarray, y: np.ndarray, names: str = "abcdefghijklmnopqrst") -> pd.DataFrame:
    return pd.DataFrame({"metric": x, "recovery": y}, index=list(names[: len(x)]))


def test_equals_all_orders_of_six_methods_on_two_layers() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 6)), generator.normal(size=(2, 6))
    x[0, 1] = x[0, 2]

    def mean_rho(order: list[int]) -> float:
        return float(np.mean([spearmanr(x[w, order], y[w]).statistic for w in range(2)]))

    observed = abs(mean_rho(list(range(6))))
    exact = np.mean([abs(mean_rho(list(order))) >= observed - 1e-9 for order in itertools.permutations(range(6))])
    p = permutation_p([layer(x[w], y[w]) for w in range(2)], seed=0)
    assert p == pytest.approx(float(exact), abs=0.01)


def test_a_copy_has_the_smallest_p_and_the_order_of_rows_does_not_matter() -> None:
    x = np.arange(14.0)
    assert permutation_p([layer(x, x)], seed=0) == pytest.approx(1 / (1 + PERMUTATIONS))
    noisy = layer(x, np.random.default_rng(1).normal(size=14))
    assert permutation_p([noisy, noisy.iloc[::-1]], seed=0) == permutation_p([noisy], seed=0)


def test_more_layers_of_the_same_methods_are_no_more_evidence() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=12)
    one = layer(x, x + 2 * generator.normal(size=12))
    p = permutation_p([one], seed=0)
    assert p is not None and p > 0.01 and permutation_p([one] * 8, seed=0) == p


def test_too_few_methods_or_no_variety_are_not_tested() -> None:
    x = np.arange(6.0)
    assert permutation_p([], seed=0) is None
    assert permutation_p([layer(x[:3], x[:3])], seed=0) is None
    assert permutation_p([layer(x, np.ones(6))], seed=0) is None
    assert permutation_p([layer(x, x), layer(x, x, "mnopqrst")], seed=0) is None, "no method is on both layers"


def test_without_a_relation_p_is_below_its_level_as_often_as_it_says() -> None:
    """80 draws: the standard error of the share is 2.4 points. benchmarks/validity_levels.py has more."""
    generator = np.random.default_rng(3)
    below = 0
    for _ in range(80):
        x, y = generator.normal(size=14), generator.normal(size=14)
        layers = [layer(x + 0.3 * generator.normal(size=14), y + 0.3 * generator.normal(size=14)) for _ in range(2)]
        p = permutation_p(layers, seed=0)
        assert p is not None
        below += p < 0.05
    assert below / 80 <= 0.05 + 3 * 0.024
