"""Backbones of planted worlds: decode the tokens from an image's pixels, and apply the planted layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.backbones.base import Backbone, Preprocessing
from harness.backbones.sources.base import Request
from harness.errors import UserError
from harness.planted import photographs
from harness.planted.images import number_of
from harness.planted.truth import PlantedLayer, PlantedNetwork, TrueParts, Truth
from harness.planted.world import LARGEST, World, world
from methods.additive import remainder_last

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline


class Patches(nn.Module):
    """Decoder from images to tokens: each patch of pixels is one token."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) with pixels in [0, 1] to tokens (B, T, d_in)."""
        return functional.pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2) * LARGEST


def load(request: Request) -> Backbone:
    """Load the backbone ``planted:NAME``, or the planted photographs.

    Raises:
        UserError: if the world is unknown, or other weights are requested: the weights of a world are part of it.
    """
    if request.checkpoint is not None or not request.weights:
        raise UserError(f"{request.spec!r} has fixed weights: remove --checkpoint and --no-weights.")
    if photographs.is_photographs(request.identifier):
        return photographs.load(request)
    of = world(request.identifier)
    setting = of.setting
    side = setting.grid * setting.patch
    return Backbone(
        name=f"planted:{of.name}",
        title=f"planted: {setting.title}, seed {of.seed}",
        model=PlantedNetwork(Patches(setting.patch), PlantedLayer(of.weight, of.bias, truth(of))).to(request.device),
        preprocessing=Preprocessing(side, side, "bicubic", (0.0,) * 3, (1.0,) * 3),
        n_prefix_tokens=0,
        default_site="units",
        source="drawn",
        license="none",
        pretrained=True,
        pool=lambda model, images: model(images),
    )


def truth(of: World) -> Truth:
    """Return the truth of one world's layer."""

    def strengths(baseline: Baseline) -> Tensor:
        images = f"planted:{of.setting.name}"
        if baseline.images.name != images:
            raise UserError(
                f"The concepts of planted:{of.name} are not known on the images {baseline.images.name!r}: "
                f"use --dataset {images}."
            )
        return of.strengths[[number_of(record) for record in baseline.images.records]]

    parts = _parts(of) if of.setting.has_parts else None
    parent_of = of.parent_of if of.setting.children else None
    return Truth(of.setting.n_concepts, of.patterns @ of.weight.T, strengths, parts, of.patterns, parent_of)


def _parts(of: World) -> TrueParts:
    """Return one part per neuron and mixed concept: the concept's inputs, and an equal share of the remaining ones."""
    setting = of.setting
    weights, biases, members = [], [], []
    for unit, mixture in enumerate(of.mixtures):
        member = torch.zeros(setting.mixed, setting.d_in, dtype=torch.bool).scatter_(1, of.groups[mixture], True)
        unassigned = ~member.any(0)
        shares = member + unassigned / setting.mixed
        weight, bias = of.weight[unit], of.bias[unit]
        split = remainder_last(weight, bias, shares * weight, shares.mean(1) * bias)
        weights.append(split[0])
        biases.append(split[1])
        members.append(member)
    parent = torch.arange(setting.d_out).repeat_interleave(setting.mixed)
    return TrueParts(torch.cat(weights), torch.cat(biases), parent, of.mixtures.flatten(), torch.cat(members))


def built_from(identifier: str) -> str | None:
    """Return the real backbone that ``planted:identifier`` is built from, or None for a world."""
    return photographs.REAL if photographs.is_photographs(identifier) else None
