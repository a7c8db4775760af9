"""Random level of recovery: closed forms, a method as a twin, and the calibration of a random dictionary."""

from __future__ import annotations

import math

import pytest
import torch
from in_memory import MemorySite, MemoryTokens
from torch import Tensor

import methods
from harness.planted import random_level
from harness.planted.random_level import EvaluationTokens, adjusted, of_directions, of_splits
from harness.planted.recovery import Moments, matched_correlation
from harness.planted.world import world


@pytest.fixture(scope="module")
def tokens() -> EvaluationTokens:
    layer = world("two_concepts@0")
    q = layer.inputs[::4].flatten(0, 1)
    return EvaluationTokens(q, q @ layer.weight.T + layer.bias, layer.strengths[::4].flatten(0, 1))


def recovery_of(codes: Tensor, strengths: Tensor) -> float:
    moments = Moments(codes.shape[1], strengths.shape[1])
    moments.update(codes, strengths)
    return matched_correlation(moments)


def test_adjusted_is_0_at_random_and_1_at_full_recovery() -> None:
    assert adjusted(0.904, 0.904) == 0 and adjusted(1, 0.904) == 1
    assert adjusted(0.952, 0.904) == pytest.approx(0.5) and adjusted(0.5, 0.75) == -1
    assert math.isnan(adjusted(1, 1))


def test_neurons_that_are_not_split_have_the_recovery_of_the_layer(tokens: EvaluationTokens) -> None:
    layer = world("two_concepts@0")
    level = of_splits([tokens], layer.weight, layer.bias, [1] * 24)
    assert level == pytest.approx(recovery_of(tokens.a, tokens.strengths), abs=1e-6)


def test_batches_do_not_change_the_level(tokens: EvaluationTokens) -> None:
    layer = world("two_concepts@0")
    counts = [2] * 12 + [0] + [3] * 11
    halves = [EvaluationTokens(*(field[rows] for field in tokens)) for rows in (slice(0, 700), slice(700, None))]
    levels = [of_splits(batches, layer.weight, layer.bias, counts) for batches in ([tokens], halves)]
    assert levels[0] == pytest.approx(levels[1], abs=1e-9)


def test_more_units_recover_more_by_chance(tokens: EvaluationTokens) -> None:
    mean = tokens.a.mean(0)
    few, many = (of_directions([tokens], mean, n_units, active=4) for n_units in (12, 96))
    assert few + 0.1 < many


def test_a_random_dictionary_is_at_chance(tokens: EvaluationTokens) -> None:
    """Its recovery is far above 0, which is the reason for the adjustment."""
    site = MemorySite(torch.zeros(24, 8), torch.zeros(24))
    given = MemoryTokens(tokens.q, tokens.a)
    level = of_directions([tokens], tokens.a.mean(0), 48, active=4)
    recoveries = []
    for seed in range(10):
        method = methods.create("random_dictionary", expansion_factor=2, k=4).fit(given, site, seed=seed)
        recoveries.append(recovery_of(method.encode(tokens.a), tokens.strengths))
    values = torch.tensor([adjusted(value, level) for value in recoveries])
    assert min(recoveries) > 0.7
    assert abs(float(values.mean())) < 3 * float(values.std()) * math.sqrt(1 / 10 + 1 / random_level.DRAWS)


def test_a_random_split_is_at_chance_and_the_truth_is_not(tokens: EvaluationTokens) -> None:
    layer = world("two_concepts@0")
    level = of_splits([tokens], layer.weight, layer.bias, [2] * 24)
    site = MemorySite(layer.weight, layer.bias)
    split = methods.create("random_split", parts=2).fit(MemoryTokens(tokens.q, tokens.a), site, seed=7)
    assert abs(adjusted(recovery_of(split.encode(tokens.q), tokens.strengths), level)) < 0.2
    assert adjusted(recovery_of(tokens.strengths, tokens.strengths), level) == pytest.approx(1)
