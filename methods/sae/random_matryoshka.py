"""Matryoshka sparse autoencoder whose nested prefixes are drawn anew for each batch."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real, Whole
from methods.sae.batchtopk import BatchTopKConfig, BatchTopKSAE
from methods.sae.library import Start
from methods.sae.matryoshka import NestedAutoencoder
from methods.training.normaliser import Normaliser


class RandomMatryoshkaConfig(BatchTopKConfig):
    """Settings of the Matryoshka SAE with random prefixes."""

    n_prefixes: Whole = Field(10, ge=1, le=1000, description="prefixes per batch, the whole dictionary included")
    pareto: Real = Field(
        0.5, ge=0, le=100, description="exponent of the prefix lengths: l is drawn with density l ** -(1 + pareto)"
    )


class RandomMatryoshkaAutoencoder(NestedAutoencoder):
    """BatchTopK codes; the error is the mean over the prefixes of a batch, which depend on seed and step alone."""

    #: The lengths of the prefixes are shapes.
    replayable = False

    config: RandomMatryoshkaConfig

    def __init__(self, start: Start, config: RandomMatryoshkaConfig, k: int, seed: int) -> None:
        super().__init__(start, config, k)
        self.seed = seed
        self.sizes = [len(start.weight)]

    def schedule(self, step: int, total: int) -> None:
        super().schedule(step, total)
        n_units, config = len(self.weight), self.config
        self.sizes = prefix_sizes(n_units, config.n_prefixes, config.pareto, seed=self.seed, step=step)


def prefix_sizes(n_units: int, number: int, pareto: float, *, seed: int, step: int) -> list[int]:
    """Return ascending lengths of prefixes: ``number - 1`` draws of 1 to n_units, and n_units; equal ones count once.

    Draws follow the truncated Pareto distribution with the density ``l ** -(1 + pareto)``, by inversion.
    """
    uniform = np.random.default_rng([seed, step]).random(number - 1)
    if pareto == 0:
        lengths = n_units**uniform
    else:
        lengths = (1 - uniform * (1 - n_units**-pareto)) ** (-1 / pareto)
    return sorted({*np.clip(lengths.astype(int), 1, n_units).tolist(), n_units})


@register
class RandomMatryoshkaSAE(BatchTopKSAE):
    """Matryoshka sparse autoencoder with prefixes drawn for each batch (Nabeshima 2024) and BatchTopK codes."""

    spec = MethodSpec(
        name="random_matryoshka_sae",
        title="Matryoshka SAE, random prefixes",
        family="sae",
        reads="output",
        reference="Nabeshima 2024, Matryoshka sparse autoencoders; Bussmann et al. 2025",
    )
    Config = RandomMatryoshkaConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> RandomMatryoshkaAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        return RandomMatryoshkaAutoencoder(self.start(n_units, tokens, seed), self.config, k, seed)
