"""Base of the additive splits: each neuron's weights as a sum of sub-unit weights.

A split gives neuron u the sub-units ``(w^(u,c), b^(u,c))`` with ``sum_c w^(u,c) = W_u`` and ``sum_c b^(u,c) = b_u``,
so that ``sum_c (w^(u,c) q + b^(u,c)) = a_u`` for every input (ELUDe, eq. 5 and 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from methods.grouped import LinearSubUnits


class AdditiveSplit(LinearSubUnits):
    """Encode, decode and dictionary of a layer whose neurons were split additively."""

    fitted: ClassVar[tuple[str, ...]] = ("weights", "biases", "parent", "width")

    width: Tensor
    """() int64: d_out, the number of neurons before the split"""

    def assemble(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        """Store one (K_u, d_in) and one (K_u,) tensor per neuron, in neuron order."""
        self.weights, self.biases = self.join(weights), self.join(biases)
        self.width = torch.tensor(len(weights))

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Return the block sum: each neuron is the sum of its sub-units."""
        self.require_fitted()
        return self.summed(codes, int(self.width))


def remainder_last(weight: Tensor, bias: Tensor, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """Round a split (K, d_in), (K,) to the dtype of ``weight`` (d_in,) and make its last sub-unit the remainder.

    Rounding each share by itself would let the sums drift from the original by an ulp or two. They do not drift if
    the last share is computed as ``W_u - sum of the others`` in the dtype in which the shares are stored.
    """
    if len(weights) == 1:
        return weight[None].clone(), bias.reshape(1).clone()
    rounded, rounded_bias = weights.to(weight.dtype).clone(), biases.to(bias.dtype).clone()
    rounded[-1] = weight - rounded[:-1].sum(0)
    rounded_bias[-1] = bias - rounded_bias[:-1].sum()
    return rounded, rounded_bias
