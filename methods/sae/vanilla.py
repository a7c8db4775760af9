"""Vanilla sparse autoencoder: ReLU codes and an L1 penalty."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FreeAtomsConfig, PreBiasConfig, SAEConfig, SparsityWarmUpConfig
from methods.sae.method import LinearSAE
from methods.sae.warm_up import WithSparsityWarmUp
from methods.training.dense_codes import rectified
from methods.training.entries import DENSE_FROM, SelectedCodes, entries_from, sparse_here
from methods.training.normaliser import Normaliser

#: Tokens of a batch from which it is estimated whether many units are active.
_SAMPLE = 64


class L1Config(FreeAtomsConfig, SparsityWarmUpConfig, SAEConfig):
    """Settings of the families with ReLU codes and an L1 penalty."""

    l1_weight: Real = Field(5e-3, ge=0, le=1e6, description="weight of the mean over tokens of the sum of |codes|")
    l1_over: Literal["token", "batch"] = Field(
        "token", description="batch: the sum over all tokens of a batch, as in overcomplete's mse_l1"
    )


class VanillaConfig(PreBiasConfig, L1Config):
    """Settings of the vanilla SAE."""


class VanillaAutoencoder(WithSparsityWarmUp):
    """``mean (x - codes @ atoms)^2 + l1_weight * sum |codes|``, codes = relu(pre-codes)."""

    config: L1Config

    def select(self, pre: Tensor) -> SelectedCodes | None:
        return entries_from(pre, torch.full((pre.shape[1],), torch.finfo(pre.dtype).tiny))

    def codes(self, x: Tensor) -> tuple[Codes, Tensor]:
        if not sparse_here(x) or torch.is_autocast_enabled(x.device.type):
            return super().codes(x)
        shifted = self.shifted(x)
        with torch.no_grad():
            products = shifted @ self.weight.T
            many = float((products[:_SAMPLE] > -self.bias).float().mean()) > 2 * DENSE_FROM
        if not many:
            return self.selected(products.add_(self.bias.detach()), x, self.effective_bias())
        # One pass, in place, adds the bias and makes the codes. Selecting would need another to count them.
        return self.given_shifted(rectified(products, self.bias), shifted, self.atoms())

    def dense(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        return self.given(rectified(computed, torch.zeros_like(bias)), x)

    def penalty(self, codes: Codes, pre: Tensor) -> Tensor:
        tokens = codes.n if self.config.l1_over == "batch" else 1
        # No code is negative, so their sum is their L1 norm.
        total = codes.values.sum() if codes.total is None else codes.total
        return self.scaled(self.config.l1_weight) * tokens * (total / codes.n)


@register
class VanillaSAE(LinearSAE[VanillaAutoencoder]):
    """Sparse autoencoder with ReLU codes and an L1 penalty (Bricken et al. 2023)."""

    spec = MethodSpec(
        name="vanilla_sae",
        title="Vanilla SAE",
        family="sae",
        reads="output",
        reference="Bricken et al. 2023, Towards monosemanticity; overcomplete",
    )
    Config: ClassVar[type[L1Config]] = VanillaConfig
    module: ClassVar[type[VanillaAutoencoder]] = VanillaAutoencoder

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> VanillaAutoencoder:
        return self.module(self.start(n_units, tokens, seed), self.config)
