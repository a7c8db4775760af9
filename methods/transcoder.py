"""Transcoder: sparse codes of the layer's input that reconstruct its output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods import register
from methods.base import MethodSpec
from methods.sae.library import Start
from methods.sae.vanilla import L1Config, VanillaAutoencoder, VanillaSAE


class TranscoderModule(VanillaAutoencoder):
    """``relu(weight @ (q - input_bias) + bias) @ atoms + output_bias``, in normalised spaces of q and a."""

    def __init__(self, start: Start, config: L1Config) -> None:
        super().__init__(start, config)
        self.input_bias = nn.Parameter(torch.zeros(start.weight.shape[1]))
        self.output_bias = nn.Parameter(torch.zeros(start.atoms.shape[1]))

    def input_shift(self) -> Tensor:
        return self.input_bias

    def learned_output_bias(self) -> Tensor:
        return self.output_bias


@register
class Transcoder(VanillaSAE):
    """Transcoder (Dunefsky et al. 2024) with the vanilla architecture, as in App. E.1."""

    spec = MethodSpec(
        name="transcoder",
        title="Transcoder",
        family="transcoder",
        reads="input",
        reference="Dunefsky et al. 2024, Transcoders find interpretable LLM feature circuits",
    )
    # Without pre_bias: what is read and what is reconstructed have a learned bias each.
    Config = L1Config
    module = TranscoderModule
