"""Planted neurons on real tokens: each is the sum of two real neurons of a DINOv2 layer, so that its parts are known.

The network is the packaged DINOv2 up to the input of ``blocks.9.mlp.fc2``; there, in place of that layer, stand
``N_UNITS`` planted neurons ``W_u = W_i + W_j`` with the rows i and j drawn without replacement, and a head reads the
mean of their rectified outputs. Its images are photographs, e.g. the shipped ones.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.backbones.base import Backbone
from harness.backbones.sources.base import Request
from harness.identity import seed_of
from harness.planted.truth import Parts, PlantedLayer, Truth

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline

BLOCK = 9
N_UNITS = 48


class Entry(nn.Module):
    """A transformer block up to the input of its ``mlp.fc2``."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d_in)."""
        block = self.block
        x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        q: Tensor = block.mlp.norm(block.mlp.drop1(block.mlp.act(block.mlp.fc1(block.norm2(x)))))
        return q


class Features(nn.Module):
    """A vision transformer whose last block is an :class:`Entry`: images to its tokens."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, T, d_in)."""
        tokens: Tensor = self.vit.forward_features(images)
        return tokens


class PlantedOnPhotographs(nn.Module):
    """The real network up to q, the planted layer ``units``, a rectifier, and the mean over tokens."""

    def __init__(self, vit: Any, layer: PlantedLayer) -> None:
        super().__init__()
        # A sequence, because evaluation passes may start behind one instead of from the pixels.
        self.before = nn.Sequential(Features(vit))
        self.units = layer

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, N_UNITS)."""
        return torch.relu(self.units(self.before(images))).mean(1)


def load(request: Request) -> Backbone:
    """The packaged DINOv2 with planted neurons.

    Raises:
        UserError: if the packages that carry the real weights are missing.
    """
    from harness import backbones

    real = backbones.load(REAL, device=request.device)
    vit: Any = real.model
    fc2 = vit.blocks[BLOCK].mlp.fc2
    layer = PlantedLayer(*planted_rows(fc2.weight.detach().cpu(), fc2.bias.detach().cpu(), N_UNITS))
    vit.blocks = nn.Sequential(*vit.blocks[:BLOCK], Entry(vit.blocks[BLOCK]))
    vit.norm = nn.Identity()
    return dataclasses.replace(
        real,
        name="planted:photographs",
        title=f"planted: {N_UNITS} sums of two neurons of {real.title}, block {BLOCK}",
        model=PlantedOnPhotographs(vit, layer).to(request.device),
        default_site="units",
        pool=lambda model, images: model(images),
        _fingerprint=None,
    )


def planted_rows(weight: Tensor, bias: Tensor, n_units: int) -> tuple[Tensor, Tensor, Truth]:
    """Weights (n_units, d_in) and biases (n_units,) of sums of two rows each, and their truth.

    The concepts are the ``2 * n_units`` real neurons; a concept's strength is that neuron's output.
    """
    generator = torch.Generator().manual_seed(seed_of("planted", "photographs", len(weight)))
    chosen = torch.randperm(len(weight), generator=generator)[: 2 * n_units]
    parent = torch.arange(n_units).repeat_interleave(2)
    # The second part is what is left of the sum, so that the sums are exact in the layer's arithmetic too.
    summed = weight[chosen[0::2]] + weight[chosen[1::2]]
    summed_bias = bias[chosen[0::2]] + bias[chosen[1::2]]
    rows, biases = weight[chosen].clone(), bias[chosen].clone()
    rows[1::2], biases[1::2] = summed - rows[0::2], summed_bias - biases[0::2]
    parts = Parts(rows, biases, parent, torch.arange(2 * n_units))
    # A real neuron adds its own output to the one neuron that it is a part of.
    writers = functional.one_hot(parent, n_units).to(weight.dtype)

    def strengths(baseline: Baseline) -> Tensor:
        found = torch.zeros(len(baseline.images), baseline.n_tokens, 2 * n_units)
        codes: list[Tensor] = []
        for index, _ in baseline.passes.run(lambda q, a: codes.append(functional.linear(q, rows.to(q), biases.to(q)))):
            found[index] = codes.pop().cpu()
        return found

    return summed, summed_bias, Truth(2 * n_units, writers, strengths, parts)


#: What the planted photographs are built from.
REAL = "dinov2_small_saliency"
