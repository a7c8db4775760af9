"""TopK autoencoder with a fixed random dictionary: measures the effect of training only the encoder."""

from __future__ import annotations

from methods import register
from methods.base import MethodSpec, Tokens
from methods.sae.topk import TopKAutoencoder, TopKSAE
from methods.training.normaliser import Normaliser


@register
class FrozenDecoderSAE(TopKSAE):
    """TopK autoencoder whose encoder is trained for random unit atoms."""

    spec = MethodSpec(
        name="frozen_decoder_sae",
        title="TopK SAE, frozen random decoder",
        family="control",
        reads="output",
        reference="the control of Table 4: what is left of a dictionary's figures when nothing in it is learned",
        control_for=("sae", "transcoder"),
    )

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> TopKAutoencoder:
        trainee = super().trainee(n_units, tokens, normaliser, seed)
        trainee.project()
        trainee.directions.requires_grad_(False)
        return trainee
