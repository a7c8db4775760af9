"""Random level of recovery: the recovery of random units that have the same counts as a method's units.

A layer of few neurons lets random units recover concepts too: with more units than concepts, the best of them
correlates with each concept. A recovery is therefore reported beside that of random units, as
``(recovery - random) / (1 - random)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.identity import seed_of
from harness.planted.recovery import Moments, matched_correlation

#: Number of random sets of units whose recoveries are averaged.
DRAWS = 10


class EvaluationTokens(NamedTuple):
    """Tokens of one batch of the evaluation split, flattened."""

    q: Tensor
    """(n, d_in) inputs of the layer"""
    a: Tensor
    """(n, d_out) outputs of the layer"""
    strengths: Tensor
    """(n, C) strengths of the concepts"""


def adjusted(value: float, random: float) -> float:
    """Return ``(value - random) / (1 - random)``, NaN if random units recover everything."""
    return (value - random) / (1 - random) if random < 1 else math.nan


def of_splits(batches: Iterable[EvaluationTokens], weight: Tensor, bias: Tensor, counts: Sequence[int]) -> float:
    """Return the recovery of random splits with ``counts[u]`` sub-units of neuron u.

    The inputs of each neuron are divided at random among its sub-units, in equal numbers; a neuron with one sub-unit
    keeps its weights.

    Args:
        batches: tokens of the evaluation split.
        weight: (d_out, d_in) weights of the layer.
        bias: (d_out,) biases of the layer.
        counts: number of sub-units of each neuron.
    """
    draws = [_random_split(weight, bias, counts, draw) for draw in range(DRAWS)]

    def codes(tokens: EvaluationTokens) -> Iterator[Tensor]:
        return (functional.linear(tokens.q, weights, biases) for weights, biases in draws)

    return _mean_recovery((tokens, codes(tokens)) for tokens in batches)


def of_directions(batches: Iterable[EvaluationTokens], mean: Tensor, n_units: int, active: int) -> float:
    """Return the recovery of random dictionaries: the ``active`` largest positive products with random directions.

    Args:
        batches: tokens of the evaluation split.
        mean: (d_out,) mean output of the layer, which is subtracted.
        n_units: number of directions.
        active: largest number of active units per token.
    """
    drawn = []
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(seed_of("random level", "directions", draw, n_units))
        drawn.append(functional.normalize(torch.randn(n_units, len(mean), generator=generator), dim=1))

    def codes(tokens: EvaluationTokens) -> Iterator[Tensor]:
        for directions in drawn:
            products = functional.linear(tokens.a - mean, directions).clamp_min(0)
            largest = products.topk(min(active, n_units), dim=1)
            yield torch.zeros_like(products).scatter_(1, largest.indices, largest.values)

    return _mean_recovery((tokens, codes(tokens)) for tokens in batches)


def _random_split(weight: Tensor, bias: Tensor, counts: Sequence[int], draw: int) -> tuple[Tensor, Tensor]:
    """Return weights (sum(counts), d_in) and biases of one random split."""
    generator = torch.Generator().manual_seed(seed_of("random level", "splits", draw))
    weights, biases = [], []
    for unit, count in enumerate(counts):
        if not count:
            continue
        part_of = torch.argsort(torch.rand(weight.shape[1], generator=generator)) % count
        member = functional.one_hot(part_of, count).T.to(weight.dtype)
        weights.append(member * weight[unit])
        biases.append(member.mean(1) * bias[unit])
    return torch.cat(weights), torch.cat(biases)


def _mean_recovery(encoded: Iterable[tuple[EvaluationTokens, Iterator[Tensor]]]) -> float:
    """Return the recovery of each draw's codes over all batches, averaged over the draws."""
    moments: list[Moments] = []
    for tokens, draws in encoded:
        for number, codes in enumerate(draws):
            if number == len(moments):
                moments.append(Moments(codes.shape[1], tokens.strengths.shape[1]))
            moments[number].update(codes, tokens.strengths)
    return sum(map(matched_correlation, moments)) / len(moments)
