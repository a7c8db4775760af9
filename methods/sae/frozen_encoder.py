"""TopK autoencoder with a fixed random encoder: measures the effect of training only the atoms."""

from __future__ import annotations

from pydantic import model_validator

from methods import register
from methods.base import MethodSpec, Tokens
from methods.sae.config import FixedL0Config
from methods.sae.topk import TopKAutoencoder, TopKSAE
from methods.training.normaliser import Normaliser


class FrozenEncoderConfig(FixedL0Config):
    """Settings of the TopK SAE that leave the encoder as it is."""

    @model_validator(mode="after")
    def _trains_no_encoder(self) -> FrozenEncoderConfig:
        for name, value in (("pre_bias", self.pre_bias), ("auxk", self.auxk is not None)):
            if value:
                raise ValueError(f"{name} trains the encoder, which is fixed here: leave {name} out")
        return self


@register
class FrozenEncoderSAE(TopKSAE):
    """TopK autoencoder whose atoms are trained for a random encoder.

    Weights and biases of the encoder keep their start, apart from the one gain of ``encoder_start = "dictionary"``, so
    which units are active on a token is random. The reference freezes the weights; its biases are not described.
    """

    spec = MethodSpec(
        name="frozen_encoder_sae",
        title="TopK SAE, frozen random encoder",
        family="control",
        reads="output",
        reference="Korznikov et al. 2026, Sanity checks for sparse autoencoders (arXiv 2602.14111)",
        control_for=("sae", "transcoder"),
    )

    Config = FrozenEncoderConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> TopKAutoencoder:
        trainee = super().trainee(n_units, tokens, normaliser, seed)
        trainee.weight.requires_grad_(False)
        trainee.bias.requires_grad_(False)
        return trainee
