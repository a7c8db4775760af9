"""Worlds: the concepts of a synthetic layer, the tokens on which they are active, and the neurons that mix them.

A token's concepts have strengths s (C,), mostly 0. Its input is ``q = max(0, s @ patterns + noise)``, and the layer
computes ``a = W q + b``. In a world of *groups*, each concept has separate input dimensions, and a neuron's weights are
large on the groups of its ``mixed`` concepts and small elsewhere. In *superposition*, concepts share dimensions, there
are more concepts than neurons, and every neuron reads all of them. In a *hierarchy*, concepts have separate input
dimensions, every neuron reads all of them, and a concept is a child or the parent of ``children`` others: a parent is
active where one of its children is, with a strength of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from harness.errors import UserError
from harness.identity import seed_of
from methods.registry import did_you_mean
from methods.setting_problems import quoted

#: Largest input. An image stores q as 8-bit fractions of it.
LARGEST = 2.0

#: Scale of the weights on inputs of concepts that a neuron does not mix, as a fraction of the other weights.
LEAK = 0.05


#: Output of a neuron, without its bias, for the first of its mixed concepts at strength 1.
RESPONSE = 8.0


@dataclass(frozen=True)
class WorldSetting:
    """Parameters of a world, except its seed."""

    name: str
    title: str
    n_concepts: int = 12
    group: int = 14
    """Input dimensions per concept."""
    mixed: int = 2
    """Concepts per neuron."""
    noise: float = 0.05
    """Standard deviation of the noise on every input, as a fraction of the root mean square of active inputs."""
    zipf: float = 0.0
    """Exponent of the concepts' frequencies: the r-th is the main concept of a share of images ``~ 1 / r ** zipf``."""
    weaker: float = 1.0
    """Response of a neuron to its second concept, as a fraction of that to its first (and so on)."""
    together: float = 0.0
    """Probability that a concept activates its partner too (concepts 0 and 1 are partners, 2 and 3, ...)."""
    superposed: int = 0
    """0 for a world of groups, otherwise the number of active concepts per token in superposition."""
    others: float = 0.2
    """Share of an image's tokens with another concept than the main one."""
    children: int = 0
    """0 for a world without a hierarchy, otherwise the number of children per parent. Parents are the last concepts."""
    patch: int = 8
    """Side of one token in pixels; ``d_in = 3 * patch ** 2``."""
    grid: int = 4
    """Side of one image in tokens."""
    d_out: int = 24
    n_images: int = 480

    @property
    def d_in(self) -> int:
        return 3 * self.patch**2

    @property
    def n_tokens(self) -> int:
        return self.grid**2

    @property
    def n_parents(self) -> int:
        return self.n_concepts // (self.children + 1) if self.children else 0

    @property
    def n_classes(self) -> int:
        """Number of concepts that can be the main one of an image: all but the parents."""
        return self.n_concepts - self.n_parents

    @property
    def has_parts(self) -> bool:
        """True if a neuron is a sum of parts: it mixes few concepts, with separate inputs."""
        return not self.superposed and not self.children


SETTINGS = {
    setting.name: setting
    for setting in (
        WorldSetting("two_concepts", "two concepts per neuron, 5 % noise"),
        WorldSetting("unbalanced", "two concepts per neuron, one half as strong", weaker=0.5),
        WorldSetting("three_concepts", "three concepts per neuron, 5 % noise", mixed=3),
        WorldSetting("noisy", "two concepts per neuron, 40 % noise", noise=0.4),
        WorldSetting("unequal", "two concepts per neuron, Zipf frequencies", zipf=1.0),
        WorldSetting("correlated", "two concepts per neuron, partners together half of the time", together=0.5),
        WorldSetting(
            "superposition", "40 concepts in 24 neurons, 3 per token", n_concepts=40, group=8, patch=4, superposed=3
        ),
        # At 1 % noise, the sparse regression of the oracle gives exactly 0 to a concept that is not active.
        WorldSetting(
            "hierarchical",
            "12 children of 4 parents, 1 % noise",
            n_concepts=16,
            group=12,
            noise=0.01,
            others=0.0,
            children=3,
        ),
        WorldSetting(
            "hierarchical_mixed",
            "12 children of 4 parents, a fifth of the tokens of another child, 5 % noise",
            n_concepts=16,
            group=12,
            children=3,
        ),
    )
}


class World:
    """World drawn at random from a setting and a seed.

    The images depend only on the setting, the layer on the setting and the seed. Layers of different seeds therefore
    have the same images.
    """

    def __init__(self, setting: WorldSetting, seed: int) -> None:
        self.setting = setting
        self.seed = seed

    @property
    def name(self) -> str:
        return f"{self.setting.name}@{self.seed}"

    def _generator(self, what: str, *of: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of("planted", self.setting.name, what, *of))

    # ---- concepts and layer

    @cached_property
    def groups(self) -> Tensor:
        """(C, group) int64 input dimensions of each concept, disjoint except in superposition."""
        setting, generator = self.setting, self._generator("groups")
        if not setting.superposed:
            order = torch.randperm(setting.d_in, generator=generator)
            return order[: setting.n_concepts * setting.group].reshape(setting.n_concepts, setting.group)
        drawn = torch.rand(setting.n_concepts, setting.d_in, generator=generator)
        return drawn.topk(setting.group, dim=1).indices

    @cached_property
    def patterns(self) -> Tensor:
        """(C, d_in) contribution of a concept of strength 1 to q: 0.5 to 1 on its dimensions, 0 elsewhere."""
        drawn = 0.5 + 0.5 * torch.rand(self.groups.shape, generator=self._generator("patterns"))
        return torch.zeros(self.setting.n_concepts, self.setting.d_in).scatter_(1, self.groups, drawn)

    @cached_property
    def mixtures(self) -> Tensor:
        """(d_out, mixed) int64 concepts of each neuron. The numbers of neurons per concept differ by at most one."""
        setting, generator = self.setting, self._generator("mixtures", self.seed)
        rows: list[Tensor] = []
        while len(rows) < setting.d_out:
            order = torch.randperm(setting.n_concepts, generator=generator)
            rows += list(order[: setting.n_concepts // setting.mixed * setting.mixed].reshape(-1, setting.mixed))
        return torch.stack(rows[: setting.d_out])

    @cached_property
    def weight(self) -> Tensor:
        """(d_out, d_in) weights of the layer."""
        setting, generator = self.setting, self._generator("weights", self.seed)
        weight = torch.randn(setting.d_out, setting.d_in, generator=generator)
        if not setting.has_parts:
            return weight
        drawn = 0.5 + torch.rand(setting.d_out, setting.d_in, generator=generator)
        weight = LEAK * weight
        for unit, mixture in enumerate(self.mixtures):
            for rank, concept in enumerate(mixture):
                inputs = self.groups[concept]
                response = drawn[unit, inputs] @ self.patterns[concept, inputs]
                weight[unit, inputs] = drawn[unit, inputs] * (RESPONSE * setting.weaker**rank / response)
        return weight

    @cached_property
    def bias(self) -> Tensor:
        """(d_out,) biases of the layer: with parts -1, so a neuron is off on tokens without any of its concepts."""
        return torch.full((self.setting.d_out,), -1.0 if self.setting.has_parts else 0.0)

    @cached_property
    def parent_of(self) -> Tensor:
        """(C,) int64 parent concept of each concept, -1 for parents and without a hierarchy."""
        setting = self.setting
        parent_of = torch.full((setting.n_concepts,), -1)
        if setting.children:
            parent_of[: setting.n_classes] = setting.n_classes + torch.arange(setting.n_classes) // setting.children
        return parent_of

    # ---- images

    @cached_property
    def main(self) -> Tensor:
        """(n_images,) int64 main concept of each image, which is its class."""
        setting = self.setting
        shares = 1.0 / torch.arange(1, setting.n_classes + 1, dtype=torch.float64) ** setting.zipf
        edges = (shares / shares.sum()).cumsum(0)
        middle = (torch.arange(setting.n_images, dtype=torch.float64) + 0.5) / setting.n_images
        return torch.searchsorted(edges, middle).clamp_max(setting.n_classes - 1)

    @cached_property
    def strengths(self) -> Tensor:
        """(n_images, T, C) strength of each concept on each token: 0, or 0.5 to 1.

        Half of an image's tokens have its main concept, a fifth (``others``) another one, and the rest none. In
        superposition, ``superposed - 1`` further concepts are active on each token. In a hierarchy, the parent of an
        active concept is active too.
        """
        setting, generator = self.setting, self._generator("tokens")
        n, t, c = setting.n_images, setting.n_tokens, setting.n_concepts
        kind = torch.rand(n, t, generator=generator)
        # The other concept is drawn with the frequencies of the main concepts.
        other = self.main[torch.randint(n, (n, t), generator=generator)]
        first = torch.where(kind < 0.5, self.main[:, None], other)
        on = torch.zeros(n, t, c).scatter_(2, first[..., None], (kind < 0.5 + setting.others).float()[..., None])
        if setting.superposed:
            further = torch.rand(n, t, c, generator=generator) * (1 - on)
            further.scatter_(2, first[..., None], -1.0)
            on.scatter_(2, further.topk(setting.superposed - 1, dim=2).indices, 1.0)
        if setting.together:
            brought = torch.rand(n, t, c, generator=generator) < setting.together
            partner = torch.arange(c) ^ 1
            on = torch.maximum(on, on[..., partner] * brought)
        if setting.children:
            on[..., setting.n_classes :] = on[..., : setting.n_classes].unflatten(2, (-1, setting.children)).amax(3)
        return on * (0.5 + 0.5 * torch.rand(n, t, c, generator=generator))

    @cached_property
    def inputs(self) -> Tensor:
        """(n_images, T, d_in) q in [0, LARGEST], in steps of LARGEST / 255, as stored in the images."""
        setting = self.setting
        clean = self.strengths @ self.patterns
        scale = setting.noise * float(clean[clean > 0].square().mean().sqrt())
        drawn = torch.randn(clean.shape, generator=self._generator("noise"))
        q = (clean + scale * drawn).clamp(0, LARGEST)
        return (q * (255 / LARGEST)).round() * (LARGEST / 255)


@cache
def is_seed(text: str) -> bool:
    """Return True if a text is a seed: the digits of a whole number below 2^32."""
    return re.fullmatch(r"[0-9]{1,10}", text) is not None and int(text) < 2**32


def world(spec: str) -> World:
    """Return the world ``NAME`` (seed 0) or ``NAME@SEED``, e.g. ``two_concepts@1``.

    Raises:
        UserError: for an unknown name, or a seed that is not a non-negative integer.
    """
    name, _, seed = spec.partition("@")
    if name not in SETTINGS:
        raise UserError(f"There is no planted world {name!r}. {did_you_mean(name, list(SETTINGS))}")
    if not is_seed(seed or "0"):
        raise UserError(
            f"The seed {quoted(seed)} of the planted world {name!r} is not a whole number from 0 to {2**32 - 1}; use "
            f"for example 'planted:{name}@1'."
        )
    return World(SETTINGS[name], int(seed or 0))
