"""Gated sparse autoencoder: one affine map decides which units are active, another one how strongly."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FreeAtomsConfig, PreBiasConfig, SAEConfig, SparsityWarmUpConfig
from methods.sae.library import Start
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.warm_up import WithSparsityWarmUp
from methods.training.entries import SelectedCodes, entries_from
from methods.training.normaliser import Normaliser


class GatedConfig(PreBiasConfig, FreeAtomsConfig, SparsityWarmUpConfig, SAEConfig):
    """Settings of the gated SAE."""

    l1_weight: Real = Field(
        3e-2, ge=0, le=1e6, description="weight of the mean over tokens of the sum of the positive gate pre-codes"
    )


class GatedAutoencoder(WithSparsityWarmUp):
    """Codes ``1[gate > 0] * relu(magnitude)``, whose two affine maps share the directions of their weights.

    ::

        gate      = weight (x - pre_bias) + bias
        magnitude = exp(log_gain) * weight (x - pre_bias) + magnitude_bias

    The loss is the error, ``l1_weight`` times the mean over tokens of ``sum relu(gate)``, and the error of the
    reconstruction by ``relu(gate)``, in which the atoms are constant (Rajamanoharan et al. 2024, eq. 8): it is what
    trains the gate, since the indicator has no gradient.
    """

    config: GatedConfig

    def __init__(self, start: Start, config: GatedConfig) -> None:
        super().__init__(start, config)
        self.log_gain = nn.Parameter(torch.zeros(len(start.weight)))
        self.magnitude_bias = nn.Parameter(start.bias.clone())

    def gain(self) -> Tensor:
        """Return the factor of the magnitude's weights (n_units,)."""
        return self.log_gain.exp()

    def shift(self) -> Tensor:
        """Return the difference (n_units,) between the magnitude and the gain times the gate's pre-code."""
        return self.magnitude_bias - self.gain() * self.bias

    def select(self, pre: Tensor) -> SelectedCodes | None:
        return entries_from(pre, torch.full((pre.shape[1],), torch.finfo(pre.dtype).tiny))

    def activate(self, pre: Tensor, units: Tensor | None) -> Tensor:
        gain, shift = self.gain(), self.shift()
        if units is not None:
            gain, shift = gain[units], shift[units]
        return torch.relu(gain * pre + shift) * (pre.detach() > 0)

    def penalty(self, codes: Codes, pre: Tensor) -> Tensor:
        return self.scaled(self.config.l1_weight) * torch.relu(pre).sum() / codes.n

    def auxiliary(self, codes: Codes, pre: Tensor, target: Tensor) -> Tensor:
        by_gate = codes._replace(values=torch.relu(pre)).decode(self.atoms().detach())
        output_bias = self.learned_output_bias()
        constant = output_bias.detach() if isinstance(output_bias, Tensor) else output_bias
        return (by_gate + constant - target).square().mean()


@register
class GatedSAE(LinearSAE[GatedAutoencoder]):
    """Gated sparse autoencoder (Rajamanoharan et al. 2024).

    Fitted, it is a JumpReLU: the gate is open where the magnitude exceeds :meth:`GatedAutoencoder.shift`, so a code is
    the magnitude where that is above ``max(shift, 0)``.
    """

    spec = MethodSpec(
        name="gated_sae",
        title="Gated SAE",
        family="sae",
        reads="output",
        reference="Rajamanoharan et al. 2024, Improving dictionary learning with gated sparse autoencoders",
    )
    Config = GatedConfig
    fitted = (*LinearSAE.fitted, "thresholds")

    thresholds: Tensor
    """(n_units,) >= 0"""

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> GatedAutoencoder:
        return GatedAutoencoder(self.start(n_units, tokens, seed), self.config)

    def keep(self, trainee: GatedAutoencoder) -> None:
        gain, shift = trainee.gain().detach(), trainee.shift().detach()
        self.encoder_weight = gain[:, None] * self.encoder_weight
        self.encoder_bias = gain * self.encoder_bias + shift
        self.thresholds = shift.clamp_min(0)

    def activate(self, pre: Tensor) -> Tensor:
        active = torch.relu(pre)
        return active * (active > self.thresholds.to(active))

    def activation_form(self) -> ActivationForm:
        return ActivationForm("jumprelu", tensors={"threshold": self.thresholds})
