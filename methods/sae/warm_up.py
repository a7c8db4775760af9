"""Values that rise or fall linearly over the first steps of a training. They depend on the number of the step alone."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.errors import UserError
from methods.sae.autoencoder import LinearAutoencoder
from methods.sae.config import KWarmUpConfig, SAEConfig, SparsityWarmUpConfig
from methods.sae.library import Start


def progress_of(step: int, total: int, share: float) -> float:
    """Return how far a warm-up over a share of all steps has come at a step, counted from 0: from 0 to 1."""
    steps = round(share * total)
    return step / steps if step < steps else 1.0


class WithSparsityWarmUp(LinearAutoencoder):
    """Autoencoder whose penalty on the codes has a weight that rises from 0 over ``config.sparsity_warmup``."""

    sparsity_scale: Tensor
    """() share of the full weight; only with a warm-up"""

    def __init__(self, start: Start, config: SAEConfig) -> None:
        super().__init__(start, config)
        self.sparsity_warmup = config.sparsity_warmup if isinstance(config, SparsityWarmUpConfig) else 0.0
        if self.sparsity_warmup:
            # A tensor that keeps its place, because steps are replayed.
            self.register_buffer("sparsity_scale", torch.ones(()), persistent=False)

    def schedule(self, step: int, total: int) -> None:
        super().schedule(step, total)
        if self.sparsity_warmup:
            self.sparsity_scale.fill_(progress_of(step, total, self.sparsity_warmup))

    def scaled(self, weight: float) -> Tensor | float:
        """Return the weight of the penalty in this step."""
        return weight * self.sparsity_scale if self.sparsity_warmup else weight


class WithK(LinearAutoencoder):
    """Autoencoder with k active units per token, from ``config.k_start`` down to k over ``config.k_warmup``."""

    def __init__(self, start: Start, config: SAEConfig, k: int) -> None:
        super().__init__(start, config)
        self.k = self.final_k = k
        self.k_warmup, self.k_start = 0.0, k
        if isinstance(config, KWarmUpConfig) and config.k_warmup:
            n_units, d_out = start.atoms.shape
            self.k_warmup = config.k_warmup
            self.k_start = max(k, min(d_out, n_units)) if config.k_start is None else config.k_start
            if not k <= self.k_start <= n_units:
                raise UserError(
                    f"k_start = {self.k_start} must be at least k = {k} and at most the number of units, {n_units}: "
                    "change k_start, or leave it out to start from the layer's width."
                )

    def schedule(self, step: int, total: int) -> None:
        super().schedule(step, total)
        reached = progress_of(step, total, self.k_warmup)
        self.k = round(self.k_start + (self.final_k - self.k_start) * reached)
        # Another k is another number of codes, and a recorded step keeps its shapes.
        self.replayable = type(self).replayable and reached == 1
