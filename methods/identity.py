"""The backbone's own units, unchanged: the reference row for every method."""

from __future__ import annotations

import torch
from torch import Tensor

from methods import register
from methods.base import Device, Dictionary, Learner, LinearSite, MethodSpec, Progress, Tokens


@register
class Identity(Learner):
    """Codes are the layer's output: unit u is neuron u."""

    spec = MethodSpec(
        name="identity",
        title="backbone only",
        family="control",
        reads="output",
        reference="the unmodified layer",
        training_free=True,
        lossless=True,
        stable=True,
        uses_seed=False,
    )
    fitted = ("width",)

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        self.width = torch.tensor(site.d_out)

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return codes

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        n, device = self.n_units, self.width.device
        return Dictionary(torch.eye(n, device=device), torch.arange(n, device=device), "writer")

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return int(self.width)
