"""TopK autoencoder that reconstructs at several numbers of active units: Multi-TopK, the Matryoshka SAE for CLIP."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.interface import ADDED
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FixedL0, PreBiasConfig, SAEConfig, checked_k
from methods.sae.library import Start
from methods.sae.topk import TopKAutoencoder, TopKSAE, keep_largest
from methods.training.normaliser import Normaliser

#: Number of active units relative to that of the evaluation.
Factor = Annotated[Real, Field(gt=0, le=1000)]
Weight = Annotated[Real, Field(gt=0, le=1000)]


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
    weights: tuple[Weight, ...] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="weights of the errors, one per factor, instead of weighting; they are scaled to a sum of 1",
        json_schema_extra=ADDED,
    )

    @model_validator(mode="after")
    def _one_weight_per_factor(self) -> MultiTopKConfig:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.factors):
            raise ValueError(
                f"weights has {len(self.weights)} values and factors {len(self.factors)}: give one for each"
            )
        if self.weighting != "uniform":
            raise ValueError("weights and weighting both set the weights of the errors; give one of them")
        return self

    @field_validator("factors")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(low < high for low, high in itertools.pairwise(values)):
            raise ValueError("factors must ascend, e.g. [0.5, 1, 2]")
        return values

    def levels(self, name: str, n_units: int) -> list[int]:
        """Return the numbers of active units in training, ascending; equal ones count once."""
        checked_k(self.k, name, n_units)
        return sorted({self._level(factor, n_units) for factor in self.factors})

    def level_weights(self, levels: list[int], n_units: int) -> list[float]:
        """Return the weight of the error at each level; they sum to 1."""
        if self.weights is not None:
            raw = [0.0] * len(levels)
            for factor, weight in zip(self.factors, self.weights, strict=True):
                raw[levels.index(self._level(factor, n_units))] += weight
        elif self.weighting == "reverse":
            raw = [float(rank) for rank in range(len(levels), 0, -1)]
        else:
            raw = [1.0] * len(levels)
        return [value / sum(raw) for value in raw]

    def _level(self, factor: float, n_units: int) -> int:
        return min(n_units, max(1, round(factor * self.k)))


class MultiTopKAutoencoder(TopKAutoencoder):
    """Codes are the largest of the last level; the error is the weighted mean of those at all levels.

    With levels ``k_1 < ... < k_m``: ``sum_i w_i mean (x - topk(codes, k_i) @ atoms)^2``. The weights sum to 1 and are
    equal, proportional to ``m, ..., 1``, or given. L0 and dead units of the training's curves are those of ``k_m``, not
    of the k of the evaluation.
    """

    def __init__(self, start: Start, config: MultiTopKConfig, levels: list[int]) -> None:
        super().__init__(start, config, levels[-1])
        self.levels = levels
        self.weights = config.level_weights(levels, len(start.weight))

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
    """TopK autoencoder trained at several numbers of active units, MSAE (Zaigrajew, Baniecki and Biecek 2025).

    The reference doubles the number from one level to the next up to all units, and evaluates without a selection. Here
    the largest level is 4 k, and the k largest codes are kept, so that rows of one k can be compared. The Multi-TopK of
    Gao et al. is ``factors = [1, 4]`` with ``weights = [1, 0.125]``.
    """

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
