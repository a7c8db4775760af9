"""Random unit atoms: the chance level of a dictionary."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary
from methods.half_precision import in_float32
from methods.number_types import Real, Whole
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.sae.config import checked_k
from methods.sae.topk import keep_largest
from methods.training.batches import generator_of
from methods.training.normaliser import Normaliser


class RandomDictionaryConfig(MethodConfig):
    """Settings of the random dictionary."""

    expansion_factor: Real = Field(8, ge=1e-6, le=100_000, description="units per neuron of the layer")
    k: Whole = Field(20, ge=1, le=1_048_576, description="active units per token")


@register
class RandomDictionary(LinearDictionary):
    """Gaussian unit atoms; codes are the k largest of ``relu(atoms @ (a - mean))``, times one common gain.

    Only the gain is fitted: it minimises the squared error over the probing tokens.
    """

    spec = MethodSpec(
        name="random_dictionary",
        title="random dictionary",
        family="control",
        reads="output",
        reference="chance level of stability, effective rank and reconstruction",
        training_free=True,
        control_for=("sae", "transcoder", "dictionary"),
    )
    Config = RandomDictionaryConfig
    fitted = ("atoms", "output_bias", "gain")

    gain: Tensor
    """() factor of all codes"""

    @classmethod
    def least_memory(cls, config: Any, d_in: int, d_out: int) -> int:
        """Return the bytes of the atoms in float32."""
        n_units = int(config.expansion_factor * d_out)
        return 4 * n_units * d_out

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        config: RandomDictionaryConfig = self.config
        n_units = max(1, round(config.expansion_factor * site.d_out))
        checked_k(config.k, self.spec.name, n_units)
        drawn = torch.randn(n_units, site.d_out, generator=generator_of("random dictionary", seed))
        self.atoms = (drawn / drawn.norm(dim=1, keepdim=True)).to(device)
        self.output_bias = Normaliser(tokens, "output").mean.to(device)
        self.gain = torch.tensor(1.0, device=device)
        along, square, done = 0.0, 0.0, 0
        for batch in tokens.batches("output", 16384):
            rows = batch.to(device) - self.output_bias
            reconstruction = self.encode(batch.to(device)) @ self.atoms
            along += float((reconstruction * rows).sum())
            square += float(reconstruction.square().sum())
            done += len(batch)
            progress(done, tokens.n, "tokens")
        self.gain = torch.tensor(along / square if square > 0 else 1.0, device=device)

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        products = (x - self.output_bias.to(x)) @ self.atoms.to(x).T
        return keep_largest(torch.relu(products), self.config.k) * self.gain.to(x)

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        return self.with_encoder(self.atoms * self.gain, TrainedConfig(activation="topk", k=self.config.k))
