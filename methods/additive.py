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
    """Round a split (K, d_in), (K,) to the dtype of ``weight`` (d_in,), such that the sums are the original.

    Rounding each share by itself would let the sums drift from the original by an ulp or two. In every input dimension
    the last sub-unit that has a share of it takes the rest, ``W_u`` minus the others. Sub-units without a share stay
    exactly zero: an input that another sub-unit has won leaves no rounding error in the last one.

    Sub-units that share a dimension share it equally. Their weights, added in order in float32 (float64 for a float64
    layer) and rounded once to the dtype of ``weight``, are then the original to the bit: in float32 the subtraction is
    exact (Sterbenz), and in half precision the rest is rounded by less than half a unit in the last place of ``W_u``.
    Shares of the bias are any numbers, so that their sum may miss by a rounding.
    """
    if len(weights) == 1:
        return weight[None].clone(), bias.reshape(1).clone()
    with_share = biases.nonzero()
    last = int(with_share[-1]) if len(with_share) else len(biases) - 1
    rounded_bias = biases.to(bias.dtype).clone()
    rounded_bias[last] = bias - rounded_bias[:last].sum()
    return with_remainders(weight, weights), rounded_bias


def with_remainders(weight: Tensor, shares: Tensor) -> Tensor:
    """Return shares (K, d) in the dtype of ``weight`` (d,); the last one of a column that is not zero is the rest."""
    shared = shares != 0
    number = torch.arange(len(shares), device=shares.device)[:, None]
    # A column without a share, which is that of a weight of zero, leaves the rest to the last row.
    last = torch.where(shared.any(0), (number * shared).amax(0), len(shares) - 1)
    rounded = shares.to(weight.dtype).masked_fill(number == last, 0)
    wide = torch.promote_types(weight.dtype, torch.float32)
    total = torch.zeros_like(weight, dtype=wide)
    for row in rounded:
        total = total + row
    return rounded.scatter(0, last[None], (weight.to(wide) - total).to(weight.dtype)[None])
