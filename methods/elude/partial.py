"""Fit of a few neurons of a layer, for timing: the other neurons are divided without clustering."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from methods.elude.resume import Part


class PartialFit(NamedTuple):
    """Part of a fit that is computed."""

    neurons: int
    """number of neurons that are clustered, the first ones of the layer"""
    parts: int
    """sub-units of each other neuron, so that the fit has as many units as a whole one"""

    def others(self, weight: Tensor, bias: Tensor, finished: Collection[int]) -> dict[int, Part]:
        """Return the parts of the neurons that are not clustered and not ``finished``.

        Input dimension i belongs to sub-unit ``i % parts``.

        Args:
            weight: (d_out, d_in) of the layer.
            bias: (d_out,).
        """
        others = [unit for unit in range(self.neurons, len(weight)) if unit not in finished]
        count = min(self.parts, weight.shape[1])
        member = torch.nn.functional.one_hot(torch.arange(weight.shape[1]) % count).T.to(weight.dtype)
        weights = member * weight[others][:, None]
        biases = member.mean(1) * bias[others][:, None]
        # As all splits of a neuron: the last sub-unit is what the others leave, so that the sum is exact.
        weights[:, -1] = weight[others] - weights[:, :-1].sum(1)
        biases[:, -1] = bias[others] - biases[:, :-1].sum(1)
        rows = zip(others, weights, biases, strict=True)
        return {unit: Part(of_unit, bias_of_unit, math.nan, 0) for unit, of_unit, bias_of_unit in rows}

    def distance_bytes(self, top_k: int, given: int) -> int:
        """Return the memory for distances: so little that the matrix is computed in tiles, as one of full size is."""
        return min(given, max(1 << 20, 4 * top_k * top_k // 2))


_partial: ContextVar[PartialFit | None] = ContextVar("partial_fit", default=None)


@contextlib.contextmanager
def partial_fits(partial: PartialFit) -> Iterator[None]:
    """Make the fits within the context partial."""
    token = _partial.set(partial)
    try:
        yield
    finally:
        _partial.reset(token)


def partial_fit() -> PartialFit | None:
    """Return the part of fits that is computed; None: all of it."""
    return _partial.get()
