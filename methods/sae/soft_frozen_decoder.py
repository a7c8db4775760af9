"""TopK autoencoder whose atoms stay close to their random start: measures how much a dictionary has to learn."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.config import FixedL0Config
from methods.sae.library import Start
from methods.sae.topk import TopKAutoencoder, TopKSAE
from methods.training.normaliser import Normaliser


class SoftFrozenConfig(FixedL0Config):
    """Settings of the soft-frozen decoder."""

    least_cosine: Real = Field(
        0.8, ge=0, le=1, description="smallest cosine of an atom with its random start; 1 freezes the decoder"
    )


class SoftFrozenAutoencoder(TopKAutoencoder):
    """TopK autoencoder whose atoms are projected onto a cone around their start after each step."""

    config: SoftFrozenConfig
    first: Tensor
    """(n_units, d) unit atoms at the start"""

    def __init__(self, start: Start, config: SoftFrozenConfig, k: int) -> None:
        super().__init__(start, config, k)
        self.register_buffer("first", start.atoms / (start.atoms.norm(dim=1, keepdim=True) + 1e-8))

    @torch.no_grad()
    def project(self) -> None:
        super().project()
        self.directions.copy_(within_cone(self.directions, self.first, self.config.least_cosine))


def within_cone(rows: Tensor, axes: Tensor, least_cosine: float) -> Tensor:
    """Return the unit rows (n, d), those outside of the cones around unit axes (n, d) replaced by the nearest inside.

    The nearest unit vector with cosine c lies in the plane of row and axis: ``c axis + sqrt(1 - c^2) side``, where side
    is the direction of the row's part at right angles to the axis.
    """
    along = (rows * axes).sum(1, keepdim=True)
    side = rows - along * axes
    length = side.norm(dim=1, keepdim=True)
    # A row opposite to its axis has no nearest one: it becomes the axis.
    nearest = torch.where(
        length > 1e-6, least_cosine * axes + (1 - least_cosine**2) ** 0.5 * side / length.clamp_min(1e-6), axes
    )
    return torch.where(along >= least_cosine, rows, nearest)


@register
class SoftFrozenDecoderSAE(TopKSAE):
    """TopK autoencoder whose atoms have a cosine of at least ``least_cosine`` with their random start."""

    spec = MethodSpec(
        name="soft_frozen_decoder_sae",
        title="TopK SAE, soft-frozen random decoder",
        family="control",
        reads="output",
        reference="Korznikov et al. 2026, Sanity checks for sparse autoencoders (arXiv 2602.14111)",
        # No chance level: its atoms may learn much within their cones.
    )
    Config = SoftFrozenConfig

    @torch.no_grad()
    def keep(self, trainee: TopKAutoencoder) -> None:
        assert isinstance(trainee, SoftFrozenAutoencoder)
        cosines = (trainee.directions * trainee.first).sum(1)
        n_bound = int((cosines < self.config.least_cosine + 1e-3).sum())
        if n_bound < len(cosines) / 2:
            self.notes.append(
                f"{n_bound} of {len(cosines)} atoms have reached the smallest cosine with their start, "
                f"{self.config.least_cosine:g}. The others are free, as in topk_sae: with longer training or a larger "
                "least_cosine the bound has more effect."
            )

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> SoftFrozenAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        return SoftFrozenAutoencoder(self.start(n_units, tokens, seed), self.config, k)
