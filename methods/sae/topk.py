"""TopK sparse autoencoder: the k largest pre-codes of each token."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.sae.autoencoder import Codes
from methods.sae.config import FixedL0, FixedL0Config
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.warm_up import WithK
from methods.training.dense_codes import largest_dense
from methods.training.entries import DENSE_FROM, SelectedCodes, largest_entries, sparse_here
from methods.training.normaliser import Normaliser


def keep_largest(codes: Tensor, k: int) -> Tensor:
    """Return non-negative codes (n, n_units) with all but the k largest of each row set to zero."""
    if k >= codes.shape[-1] or not len(codes):
        return codes
    if sparse_here(codes) and k <= DENSE_FROM * codes.shape[-1] and not codes.requires_grad:
        values, entries = largest_entries(codes, k)
        index = entries.unit_index.view(len(codes), k)
        return torch.zeros_like(codes).scatter_(1, index, values.view(len(codes), k))
    largest = torch.topk(codes, k, dim=-1)
    # In place: the other form copies the zeros.
    return torch.zeros_like(codes).scatter_(-1, largest.indices, largest.values)


class TopKAutoencoder(WithK):
    """Autoencoder whose codes are the k largest of relu(pre-codes); only the error is minimised."""

    def select(self, pre: Tensor) -> SelectedCodes | None:
        if self.k > DENSE_FROM * pre.shape[1]:
            return None
        return largest_entries(pre, self.k)

    def activate(self, pre: Tensor, units: Tensor | None) -> Tensor:
        active = torch.relu(pre)
        if units is not None or self.k >= pre.shape[-1]:
            return active
        # In bfloat16 many codes are equal, so a threshold would keep more than k.
        return keep_largest(active, self.k)

    def dense(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        return self.given(largest_dense(computed, self.k), x)


@register
class TopKSAE(LinearSAE[TopKAutoencoder]):
    """TopK sparse autoencoder (Gao et al. 2024): codes keep the k largest of ``relu(W x + b)``."""

    spec = MethodSpec(
        name="topk_sae",
        title="TopK SAE",
        family="sae",
        reads="output",
        reference="Gao et al. 2024, Scaling and evaluating sparse autoencoders; overcomplete",
        version=2,
    )
    Config: ClassVar[type[FixedL0]] = FixedL0Config

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> TopKAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        return TopKAutoencoder(self.start(n_units, tokens, seed), self.config, k)

    def activate(self, pre: Tensor) -> Tensor:
        return keep_largest(torch.relu(pre), self.config.k)

    def activation_form(self) -> ActivationForm:
        return ActivationForm("topk", self.config.k)
