"""JumpReLU sparse autoencoder: a learned threshold for each unit, and a penalty on the number of active units."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FreeAtomsConfig, PreBiasConfig, SAEConfig, SparsityWarmUpConfig
from methods.sae.jumprelu_gradient import FusedJump, jump_relu, step
from methods.sae.library import Start, build, start_of
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.warm_up import WithSparsityWarmUp
from methods.training.entries import SelectedCodes, entries_from
from methods.training.normaliser import Normaliser


class JumpReLUConfig(FreeAtomsConfig, SparsityWarmUpConfig, PreBiasConfig, SAEConfig):
    """Settings of the JumpReLU SAE."""

    sparsity_weight: Real = Field(1e-3, ge=0, le=1e6, description="weight of the penalty on L0, active units per token")
    target_l0: Real | None = Field(
        None,
        ge=1e-6,
        le=1_048_576,
        description="penalise (L0 / target_l0 - 1)^2 instead of L0 itself, with the same weight",
    )
    threshold_rate: Real = Field(
        30.0,
        ge=1e-6,
        le=1e6,
        description="learning rate of the log thresholds relative to that of the weights; the library's is 1, with "
        "which a few hundred steps move no threshold",
    )
    bandwidth: Real = Field(
        0.05,
        ge=1e-6,
        le=1e6,
        description="width of the straight-through kernel; normalised tokens have variance 1 per feature",
    )


class JumpReLUAutoencoder(WithSparsityWarmUp):
    """Codes are ``pre * (pre > threshold)``; log-thresholds are learned, so that thresholds stay above 0."""

    config: JumpReLUConfig

    def __init__(self, start: Start, log_thresholds: Tensor, config: JumpReLUConfig) -> None:
        super().__init__(start, config)
        self.bandwidth = config.bandwidth
        # Adam's step size does not depend on the scale of a parameter, so this one is stored in larger units.
        self.log_thresholds = nn.Parameter(log_thresholds / config.threshold_rate)

    def thresholds(self) -> Tensor:
        """Return the thresholds (n_units,) > 0."""
        return (self.config.threshold_rate * self.log_thresholds).exp()

    def select(self, pre: Tensor) -> SelectedCodes | None:
        # Entries just below their threshold have no code, but they move the threshold.
        return entries_from(pre, self.thresholds().detach() - self.bandwidth / 2)

    def activate(self, pre: Tensor, units: Tensor | None) -> Tensor:
        thresholds = self.thresholds()
        return jump_relu(pre, thresholds if units is None else thresholds[units], self.bandwidth)

    def dense(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        codes, active = FusedJump.apply(computed, x, self.weight, bias, self.thresholds(), self.bandwidth)
        return Codes(codes, None, len(x), active), computed

    def penalty(self, codes: Codes, pre: Tensor) -> Tensor:
        active = codes.active
        if active is None:
            thresholds = self.thresholds()
            if codes.entries is not None:
                thresholds = thresholds[codes.entries.unit_index]
            active = step(pre, thresholds, self.bandwidth).sum()
        l0 = active / codes.n
        if self.config.target_l0 is not None:
            l0 = (l0 / self.config.target_l0 - 1).square()
        return self.scaled(self.config.sparsity_weight) * l0


@register
class JumpReLUSAE(LinearSAE[JumpReLUAutoencoder]):
    """JumpReLU sparse autoencoder (Rajamanoharan et al. 2024)."""

    spec = MethodSpec(
        name="jumprelu_sae",
        title="JumpReLU SAE",
        family="sae",
        reads="output",
        reference="Rajamanoharan et al. 2024, Jumping ahead; overcomplete",
    )
    Config = JumpReLUConfig
    fitted = (*LinearSAE.fitted, "thresholds")

    thresholds: Tensor
    """(n_units,)"""

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> JumpReLUAutoencoder:
        module = build("JumpSAE", tokens.width("output"), n_units, seed=seed)
        first = start_of(module, self.config.encoder_start)
        return JumpReLUAutoencoder(first, module.thresholds.detach(), self.config)

    def keep(self, trainee: JumpReLUAutoencoder) -> None:
        self.thresholds = trainee.thresholds().detach().clone()

    def activate(self, pre: Tensor) -> Tensor:
        active = torch.relu(pre)
        return active * (active > self.thresholds.to(active))

    def activation_form(self) -> ActivationForm:
        return ActivationForm("jumprelu", tensors={"threshold": self.thresholds})
