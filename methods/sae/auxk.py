"""AuxK: units that have not fired for long learn to reconstruct what the others leave (Gao et al. 2024, App. A.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.training.entries import sparse_here

#: Tokens without firing after which Gao et al. call a unit dead. Small token sets take one epoch instead.
MOST_TOKENS = 10_000_000

#: Mean square of a residual below which there is nothing left to reconstruct; that of a token is 1.
NOTHING = 1e-12


class AuxK(nn.Module):
    """Count of the tokens since each unit fired, and the loss of the units that are dead by it.

    With e the residual, treated as a constant, and e_hat its reconstruction from the k largest of the positive
    pre-codes of dead units, the loss is ``mean (e_hat - e)^2 / mean (e - mean e)^2``, the second mean over the batch.
    """

    tokens_since_fired: Tensor
    """(n_units,) int64"""

    def __init__(self, n_units: int, k: int, dead_after: int | None = None) -> None:
        super().__init__()
        self.k = k
        self.dead_after = MOST_TOKENS if dead_after is None else dead_after
        """tokens without firing after which a unit is dead"""
        self.register_buffer("tokens_since_fired", torch.zeros(n_units, dtype=torch.int64))

    @torch.no_grad()
    def count(self, fires: Tensor, n: int) -> None:
        """Add a batch of n tokens, in which units were active on ``fires`` (n_units,) tokens."""
        self.tokens_since_fired.add_(n).masked_fill_(fires > 0, 0)

    def loss(self, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, atoms: Tensor) -> Tensor:
        """Return the () loss of a batch; 0 if no unit is dead, or nothing is left to reconstruct.

        Args:
            x: (n, d_in) input of the encoder.
            residual: (n, d_out), detached.
            weight: (n_units, d_in) encoder.
            bias: (n_units,) encoder.
            atoms: (n_units, d_out).
        """
        dead = self.tokens_since_fired >= self.dead_after
        if sparse_here(x) and not torch.is_autocast_enabled(x.device.type):
            # Few units are dead, and a CPU does not mind that their number decides the shapes.
            units = dead.nonzero().squeeze(1)
            weight, bias, atoms = weight[units], bias[units], atoms[units]
            pre = functional.linear(x, weight, bias)
        else:
            pre = functional.linear(x, weight, bias).masked_fill(~dead, 0)
        largest = torch.topk(torch.relu(pre), min(self.k, pre.shape[1]))
        codes = torch.zeros_like(pre).scatter(1, largest.indices, largest.values)
        error = (codes @ atoms.to(codes.dtype) - residual).square().mean()
        spread = (residual - residual.mean(0)).square().mean()
        return error / spread.clamp_min(NOTHING) * (dead.any() & (spread > NOTHING))
