"""Planted neurons on real tokens: each is the sum of readouts of two clusters of tokens of a DINOv2 layer.

The network is the packaged DINOv2 up to the input of ``blocks.B.mlp.fc2``. That layer is replaced by planted neurons
(:mod:`harness.planted.readouts`). Concepts and readouts are fitted on the probing split of the packaged photographs,
and measured on other images. A head reads the mean of the rectified outputs.

The specification is ``planted:photographs_B@SEED`` for 12 concepts, or ``planted:photographs_B_C@SEED`` for C of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.backbones.base import Backbone
from harness.backbones.sources.base import Request
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import digest, seed_of
from harness.planted.readouts import Concepts, draw_mixtures, find_concepts, fit_parts
from harness.planted.truth import PlantedLayer, PlantedNetwork, Truth
from harness.planted.world import is_seed
from methods import numerics
from methods.registry import did_you_mean
from methods.setting_problems import quoted

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline

#: Increase when the recipe of the layers changes: it is part of their identity.
VERSION = 1

#: Backbone that the planted photographs are built from.
REAL = "dinov2_small_saliency"
#: Evaluation images of the split whose probing images the concepts are fitted on.
EVALUATION = 100
N_UNITS = 24
TOKENS_PER_IMAGE = 64


@dataclass(frozen=True)
class PhotographsSetting:
    """Parameters of planted photographs, except their seed."""

    name: str
    block: int
    """Block of the DINOv2 whose MLP's second layer is replaced, from 0."""
    n_concepts: int = 12


PHOTOGRAPHS = {
    setting.name: setting
    for setting in (
        PhotographsSetting("photographs_5", 5),
        PhotographsSetting("photographs_9", 9),
        PhotographsSetting("photographs_11", 11),
        PhotographsSetting("photographs_9_24", 9, n_concepts=24),
    )
}


class BlockBeforeOutput(nn.Module):
    """Transformer block up to the input of its ``mlp.fc2``."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, d) to (B, T, d_in)."""
        block = self.block
        x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        q: Tensor = block.mlp.norm(block.mlp.drop1(block.mlp.act(block.mlp.fc1(block.norm2(x)))))
        return q


class Features(nn.Module):
    """Vision transformer whose last block is a :class:`BlockBeforeOutput`: maps images to that block's outputs."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, T, d_in)."""
        tokens: Tensor = self.vit.forward_features(images)
        return tokens


def is_photographs(identifier: str) -> bool:
    """Return True for the identifier of planted photographs, e.g. ``photographs_9@0``."""
    return identifier.startswith("photographs")


def parse(identifier: str) -> tuple[PhotographsSetting, int]:
    """Return the setting and the seed of ``NAME`` (seed 0) or ``NAME@SEED``.

    Raises:
        UserError: for an unknown name, or a seed that is not a non-negative integer.
    """
    name, _, seed = identifier.partition("@")
    if name not in PHOTOGRAPHS:
        raise UserError(f"There are no planted photographs {name!r}. {did_you_mean(name, list(PHOTOGRAPHS))}")
    if not is_seed(seed or "0"):
        raise UserError(
            f"The seed {quoted(seed)} of the planted photographs {name!r} is not a whole number from 0 to {2**32 - 1}."
        )
    return PHOTOGRAPHS[name], int(seed or 0)


@numerics.threads()
def load(request: Request) -> Backbone:
    """Load the packaged DINOv2 with planted neurons; fits their concepts and readouts.

    Raises:
        UserError: if the identifier is unknown, or the packages that contain the real weights are missing.
    """
    from harness import backbones

    setting, seed = parse(request.identifier)
    real = backbones.load(REAL, device=request.device)
    images = concept_images()
    # The recipe, not the fitted weights: their last digits depend on the number of threads.
    recipe = [VERSION, setting.name, seed, N_UNITS, TOKENS_PER_IMAGE, images.fingerprint, real.fingerprint()]
    vit: Any = real.model
    q = concept_tokens(setting.block)
    layer = PlantedLayer(*planted_layer(q, setting, seed, frozenset(record.name for record in images.records)))
    before_output(vit, setting.block)
    return dataclasses.replace(
        real,
        name=f"planted:{setting.name}@{seed}",
        title=f"planted: {N_UNITS} mixtures of {setting.n_concepts} clusters of tokens of {real.title}, "
        f"block {setting.block}, seed {seed}",
        model=PlantedNetwork(Features(vit), layer).to(request.device),
        default_site="units",
        pool=lambda model, images: model(images),
        _fingerprint=digest(["planted photographs", *recipe], length=24),
    )


def concept_images() -> ImageSet:
    """Return the packaged photographs that concepts are fitted on: the probing split of 100 evaluation images."""
    from harness import datasets

    return datasets.load("photos").split(evaluation=EVALUATION).probing


@cache
def concept_tokens(block: int) -> Tensor:
    """Return q (n_images, 1 + TOKENS_PER_IMAGE, d_in) of the concept images at one block: CLS and drawn patches."""
    from harness import backbones
    from harness.datasets import BrokenReport, batches

    real = backbones.load(REAL)
    vit: Any = real.model
    before_output(vit, block)
    generator = torch.Generator().manual_seed(seed_of("planted", "photographs", "tokens", block))
    kept: list[Tensor] = []

    def center(image: Any, _: int) -> Tensor:
        return real.preprocessing.center(image)

    for batch in batches(concept_images(), center, batch_size=16, report=BrokenReport()):
        with torch.no_grad():
            q = Features(vit)(batch.images)
        drawn = torch.rand(q.shape[:2], generator=generator)
        # The CLS token is always kept.
        drawn[:, 0] = 2.0
        chosen = drawn.topk(1 + TOKENS_PER_IMAGE, dim=1).indices.sort(dim=1).values
        kept.append(q.gather(1, chosen[..., None].expand(-1, -1, q.shape[-1])))
    return torch.cat(kept)


def before_output(vit: Any, block: int) -> None:
    """Cut a vision transformer after the input of ``blocks.BLOCK.mlp.fc2``."""
    vit.blocks = nn.Sequential(*vit.blocks[:block], BlockBeforeOutput(vit.blocks[block]))
    vit.norm = nn.Identity()


def planted_layer(
    q: Tensor, setting: PhotographsSetting, seed: int, fitted_on: frozenset[str]
) -> tuple[Tensor, Tensor, Truth]:
    """Return weights (N_UNITS, d_in), biases (N_UNITS,) and truth of planted neurons.

    Args:
        q: (n_images, T, d_in) tokens to fit concepts and readouts on, CLS first. CLS is of no concept.
        setting: block and number of concepts.
        seed: seed of the clusters, the mixtures and the halves.
        fitted_on: names of the images, which must not be evaluated on.
    """
    generator = torch.Generator().manual_seed(seed_of("planted", setting.name, "layer", seed))
    concepts = find_concepts(q[:, 1:].flatten(0, 1), setting.n_concepts, seed_of("planted", setting.name, seed) % 2**31)
    mixtures = draw_mixtures(setting.n_concepts, N_UNITS, generator)
    parts = fit_parts(q.flatten(0, 1), membership(concepts, q).flatten(0, 1), mixtures, generator)
    weight = parts.weights.reshape(N_UNITS, 2, -1).sum(1)
    bias = parts.biases.reshape(N_UNITS, 2).sum(1)

    def strengths(baseline: Baseline) -> Tensor:
        repeated = [record.name for record in baseline.images.records if record.name in fitted_on]
        if repeated:
            raise UserError(
                f"{len(repeated)} of the {len(baseline.images)} evaluation images, such as {repeated[0]}, are images "
                f"that the concepts of planted:{setting.name} were fitted on. Use at most {EVALUATION} evaluation "
                "images of photos, with split seed 0, or other images."
            )
        outputs = torch.zeros(len(baseline.images), baseline.n_tokens, setting.n_concepts)
        captured: list[Tensor] = []
        for index, _ in baseline.passes.run(lambda q, a: captured.append(membership(concepts, q.cpu()))):
            outputs[index] = captured.pop()
        return outputs

    # A concept contributes 1 to each neuron that mixes it.
    writers = functional.one_hot(mixtures, setting.n_concepts).sum(1).T.to(weight.dtype)
    return weight, bias, Truth(setting.n_concepts, writers, strengths, parts)


def membership(concepts: Concepts, q: Tensor) -> Tensor:
    """Return the (B, T, C) membership of tokens q (B, T, d_in) whose first is CLS, which is of no concept."""
    members = concepts.strengths(q)
    members[:, 0] = 0
    return members
