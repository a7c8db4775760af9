"""Method with a decoder of several layers: no dictionary, and tensors whose number follows from a setting."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Learner, MethodConfig, MethodSpec


class DeepDecoderConfig(MethodConfig):
    layers: int = Field(2, ge=1)
    n_units: int = Field(6, ge=1)


class DeepDecoder(Learner):
    """Random encoder, and a random decoder of several layers with a rectifier between them, scaled to the output."""

    spec = MethodSpec("deep_decoder", "deep decoder", "mine", "output", "the tests")
    Config = DeepDecoderConfig
    fitted = ("encoder", "mean", "layers.*")

    encoder: Tensor
    mean: Tensor
    layers: dict[str, Tensor]

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        generator = torch.Generator().manual_seed(seed)
        n = self.config.n_units
        self.encoder = torch.randn(n, site.d_out, generator=generator) / site.d_out
        self.mean = tokens.gather("output", range(tokens.n)).mean(0)
        widths = [n] * self.config.layers + [site.d_out]
        self.layers = {
            f"{number}.weight": torch.randn(wide, narrow, generator=generator) / narrow
            for number, (narrow, wide) in enumerate(itertools.pairwise(widths))
        }

    def encode(self, x: Tensor) -> Tensor:
        return ((x - self.mean.to(x)) @ self.encoder.T.to(x)).relu()

    def decode(self, codes: Tensor) -> Tensor:  # type: ignore[override]
        hidden = codes
        for number in range(self.config.layers):
            hidden = (hidden if not number else hidden.relu()) @ self.layers[f"{number}.weight"].T.to(codes)
        return hidden + self.mean.to(codes)

    def dictionary(self) -> None:  # type: ignore[override]
        return None

    @property
    def n_units(self) -> int:
        return len(self.encoder)
