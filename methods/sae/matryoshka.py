"""Matryoshka sparse autoencoder: every nested prefix of the dictionary gives a reconstruction."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from methods import register
from methods.base import MethodSpec
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig, BatchTopKSAE
from methods.sae.library import Start
from methods.training.nested import NestedError

#: Share of the units of a dictionary.
Share = Annotated[Real, Field(gt=0, le=1)]


class MatryoshkaConfig(BatchTopKConfig):
    """Settings of the Matryoshka SAE."""

    prefixes: tuple[Share, ...] = Field(
        (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
        min_length=1,
        max_length=1000,
        description="shares of the dictionary that must reconstruct on their own, rising to 1",
    )

    @field_validator("prefixes")
    @classmethod
    def _rising_to_one(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if values[-1] != 1 or not all(low < high for low, high in itertools.pairwise((0.0, *values))):
            raise ValueError("prefixes must rise from above 0 to exactly 1, e.g. [0.0625, 0.25, 1.0]")
        return values

    def prefix_sizes(self, n_units: int) -> list[int]:
        """Return the number of units of each prefix, ascending; prefixes that round to the same number count once."""
        return sorted({max(1, round(share * n_units)) for share in self.prefixes})


class NestedAutoencoder(BatchTopKAutoencoder):
    """BatchTopK codes; the error is the mean over prefixes m of ``mean (x - codes[:, :m] @ atoms[:m])^2``."""

    sizes: list[int]
    """number of units of each prefix, ascending"""

    def error(self, codes: Codes, target: Tensor) -> Tensor:
        if codes.entries is not None:
            bias = self.learned_output_bias()
            bias = bias if isinstance(bias, Tensor) else target.new_zeros(target.shape[1])
            error: Tensor = NestedError.apply(codes.values, self.atoms(), bias, codes.entries, target, self.sizes)
            return error
        total = torch.zeros((), device=target.device)
        so_far = self.learned_output_bias()
        atoms = self.atoms()
        for low, high in zip([0, *self.sizes], self.sizes, strict=False):
            # Each group is decoded once: a prefix is the previous prefix plus its own group.
            so_far = so_far + codes.values[:, low:high] @ atoms[low:high].to(codes.values.dtype)
            total = total + (so_far - target).square().mean()
        return total / len(self.sizes)


class MatryoshkaAutoencoder(NestedAutoencoder):
    """Nested autoencoder with the prefixes of its settings."""

    def __init__(self, start: Start, config: MatryoshkaConfig, k: int) -> None:
        super().__init__(start, config, k)
        self.sizes = config.prefix_sizes(len(start.weight))


@register
class MatryoshkaSAE(BatchTopKSAE):
    """Matryoshka sparse autoencoder (Bussmann et al. 2025) with BatchTopK codes: units are ordered, general first."""

    spec = MethodSpec(
        name="matryoshka_sae",
        title="Matryoshka SAE",
        family="sae",
        reads="output",
        reference="Bussmann et al. 2025, Learning multi-level features with Matryoshka sparse autoencoders",
        # Versions as those of BatchTopKSAE.
        version=3,
    )
    Config = MatryoshkaConfig
    module = MatryoshkaAutoencoder
