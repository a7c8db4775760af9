"""Skip transcoder: sparse codes of the layer's input, and an affine map past them, that reconstruct its output."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods import register
from methods.base import MethodSpec, Tokens
from methods.half_precision import in_float32
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.sae.config import FixedL0, KWarmUpConfig, SAEConfig
from methods.sae.library import Start
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.topk import TopKAutoencoder, keep_largest
from methods.training.loop import StepLoss
from methods.training.normaliser import Normaliser


class SkipTranscoderConfig(FixedL0, KWarmUpConfig, SAEConfig):
    """Settings of the skip transcoder: no pre_bias, since what is read is not what is reconstructed."""


class SkipTranscoderModule(TopKAutoencoder):
    """``topk(relu(weight q + bias)) @ atoms + skip q + output_bias``, in normalised spaces of q and a."""

    def __init__(self, start: Start, config: SkipTranscoderConfig, k: int) -> None:
        super().__init__(start, config, k)
        # Zero, as in the reference: the codes are first to explain the output.
        self.skip = nn.Parameter(torch.zeros(start.atoms.shape[1], start.weight.shape[1]))
        self.output_bias = nn.Parameter(torch.zeros(start.atoms.shape[1]))

    def learned_output_bias(self) -> Tensor:
        return self.output_bias

    def loss(self, *batch: Tensor) -> StepLoss:
        """Return the loss of the codes for what the skip leaves of the target: the error is that of their sum."""
        x, target = batch
        return super().loss(x, target - functional.linear(x, self.skip))


@register
class SkipTranscoder(LinearSAE[SkipTranscoderModule]):
    """Transcoder with an affine skip connection and TopK codes (Paulo, Shabalin and Belrose 2025).

    What is linear in the input needs no units, so codes are left with the rest. On a linear layer the skip alone can be
    the layer: then R2 is 1 and the codes mean nothing. The evaluation notes it if the skip explains half of the output.
    """

    spec = MethodSpec(
        name="skip_transcoder",
        title="Skip transcoder",
        family="transcoder",
        reads="input",
        reference="Paulo, Shabalin and Belrose 2025, Transcoders beat sparse autoencoders for interpretability",
    )
    Config = SkipTranscoderConfig
    fitted = (*LinearSAE.fitted, "skip_weight")

    skip_weight: Tensor
    """(d_out, d_in)"""

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> SkipTranscoderModule:
        k = self.config.k_of(self.spec.name, n_units)
        return SkipTranscoderModule(self.start(n_units, tokens, seed), self.config, k)

    @torch.no_grad()
    def fold(self, trainee: SkipTranscoderModule, reads: Normaliser, writes: Normaliser) -> None:
        super().fold(trainee, reads, writes)
        self.skip_weight = trainee.skip.detach() * (writes.scale / reads.scale)
        self.output_bias = self.output_bias - self.skip_weight @ reads.mean.to(self.skip_weight)

    def activate(self, pre: Tensor) -> Tensor:
        return keep_largest(torch.relu(pre), self.config.k)

    @property
    def decode_reads_input(self) -> bool:
        return True

    @in_float32
    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        # Without x, the base class has raised.
        assert x is not None
        return super().decode(codes) + functional.linear(x.to(codes), self.skip_weight.to(codes))

    def activation_form(self) -> ActivationForm:
        return ActivationForm("topk", self.config.k)

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        config = TrainedConfig(activation="topk", k=self.config.k, reads="input", skip=True)
        return TrainedDictionary.of(config, {name: getattr(self, name) for name in self.fitted})
