"""TopK autoencoder that reconstructs at several numbers of active units: Multi-TopK, the Matryoshka SAE for CLIP."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FixedL0, PreBiasConfig, SAEConfig, checked_k
from methods.sae.library import Start
from methods.sae.topk import TopKAutoencoder, TopKSAE, keep_largest
from methods.training.normaliser import Normaliser

#: Number of active units relative to that of the evaluation.
Factor = Annotated[Real, Field(gt=0, le=1000)]


class MultiTopKConfig(FixedL0, PreBiasConfig, SAEConfig):
    """Settings of Multi-TopK; ``k`` is the number of active units per token at evaluation."""

    factors: tuple[Factor, ...] = Field(
        (0.25, 0.5, 1.0, 2.0, 4.0),
        min_length=1,
        max_length=100,
        description="numbers of active units in training, ascending, relative to k; more than all units count as all",
    )
    weighting: Literal["uniform", "reverse"] = Field(
        "uniform",
        description="weights of the errors: equal, or falling linearly from the fewest units to the most",
    )

    @field_validator("factors")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(low < high for low, high in itertools.pairwise(values)):
            raise ValueError("factors must ascend, e.g. [0.5, 1, 2]")
        return values

    def levels(self, name: str, n_units: int) -> list[int]:
        """Return the numbers of active units in training, ascending; equal ones count once."""
        k = checked_k(self.k, name, n_units)
        return sorted({min(n_units, max(1, round(factor * k))) for factor in self.factors})


class MultiTopKAutoencoder(TopKAutoencoder):
    """Codes are the largest of the last level; the error is the weighted mean of those at all levels.

    With levels ``k_1 < ... < k_m``: ``sum_i w_i mean (x - topk(codes, k_i) @ atoms)^2``. The weights sum to 1 and are
    equal, or proportional to ``m, ..., 1``. L0 and dead units of the training's curves are those of ``k_m``, not of the
    k of the evaluation.
    """

    def __init__(self, start: Start, config: MultiTopKConfig, levels: list[int]) -> None:
        super().__init__(start, config, levels[-1])
        self.levels = levels
        raw = range(len(levels), 0, -1) if config.weighting == "reverse" else [1] * len(levels)
        self.weights = [value / sum(raw) for value in raw]

    def error(self, codes: Codes, target: Tensor) -> Tensor:
        atoms, output_bias = self.atoms(), self.learned_output_bias()
        total = torch.zeros((), device=target.device)
        for weight, k in zip(self.weights, self.levels, strict=True):
            kept = codes if k == self.levels[-1] else _largest(codes, k)
            total = total + weight * (kept.decode(atoms) + output_bias - target).square().mean()
        return total


def _largest(codes: Codes, k: int) -> Codes:
    """Return the k largest codes of each row; at entries, every row has the same number of them."""
    if codes.entries is None:
        kept = keep_largest(codes.values.detach(), k) != 0
        return Codes(codes.values * kept, None, codes.n)
    rows = codes.values.detach().view(codes.n, -1)
    # Equal codes have different ranks, so that k are kept.
    rank = rows.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    keep = (rank < k).flatten()
    return Codes(codes.values[keep], codes.entries.masked(keep.numpy()), codes.n)


@register
class MultiTopKSAE(TopKSAE):
    """TopK autoencoder trained at several numbers of active units, MSAE (Zaigrajew, Baniecki and Biecek 2025)."""

    spec = MethodSpec(
        name="multi_topk_sae",
        title="Multi-TopK SAE",
        family="sae",
        reads="output",
        reference="Zaigrajew, Baniecki and Biecek 2025, Interpreting CLIP with hierarchical sparse autoencoders; "
        "Gao et al. 2024, App. D.2",
    )
    Config = MultiTopKConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> MultiTopKAutoencoder:
        levels = self.config.levels(self.spec.name, n_units)
        return MultiTopKAutoencoder(self.start(n_units, tokens, seed), self.config, levels)
