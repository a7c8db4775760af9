"""Random unit atoms: the chance level of a dictionary."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary
from methods.sae.config import checked_k
from methods.sae.topk import keep_largest
from methods.training.batches import generator_of
from methods.training.normaliser import Normaliser


class RandomDictionaryConfig(MethodConfig):
    """Settings of the random dictionary."""

    expansion_factor: float = Field(8, gt=0, description="units per neuron of the layer")
    k: int = Field(20, ge=1, description="active units per token")


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

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        products = (x - self.output_bias.to(x)) @ self.atoms.to(x).T
        return keep_largest(torch.relu(products), self.config.k) * self.gain.to(x)
