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
    prefix_exponent: Real = Field(
        0.5,
        ge=1e-3,
        le=1,
        description="a prefix is at most l units long with probability (l / units) ** prefix_exponent; 1: all lengths "
        "are equally likely",
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
        self.sizes = prefix_sizes(n_units, config.n_prefixes, config.prefix_exponent, seed=self.seed, step=step)


def prefix_sizes(n_units: int, number: int, exponent: float, *, seed: int, step: int) -> list[int]:
    """Return ascending, different lengths of prefixes: ``number - 1`` draws of 1 to n_units - 1, and n_units.

    Draws are without replacement, from ``P(length <= l) = (l / (n_units - 1)) ** exponent``. If there are no more than
    ``number`` lengths, all are returned.
    """
    lengths = np.arange(1, n_units)
    if number >= n_units:
        return [*lengths.tolist(), n_units]
    below = np.linspace(0, 1, n_units) ** exponent
    drawn = np.random.default_rng([seed, step]).choice(lengths, number - 1, replace=False, p=np.diff(below))
    return [*sorted(drawn.tolist()), n_units]


@register
class RandomMatryoshkaSAE(BatchTopKSAE):
    """Matryoshka sparse autoencoder with prefixes drawn for each batch (Nabeshima 2024) and BatchTopK codes.

    The law of the lengths is that of the reference's code. The reference has ReLU codes with a sparsity penalty, and
    sorts the units by their activity as it trains; here codes are BatchTopK, and units keep their places.
    """

    spec = MethodSpec(
        name="random_matryoshka_sae",
        title="Matryoshka SAE, random prefixes",
        family="sae",
        reads="output",
        reference="Nabeshima 2024, Matryoshka sparse autoencoders; Bussmann et al. 2025",
        # Version 2: lengths are drawn as in the reference, most of them long. They were drawn with density l ** -1.5.
        version=2,
    )
    Config = RandomMatryoshkaConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> RandomMatryoshkaAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        return RandomMatryoshkaAutoencoder(self.start(n_units, tokens, seed), self.config, k, seed)
