"""Planted neurons on real tokens: each is the sum of two real neurons of a DINOv2 layer, so its parts are known.

The network is the packaged DINOv2 up to the input of ``blocks.9.mlp.fc2``. That layer is replaced by ``N_UNITS``
planted neurons ``W_u = W_i + W_j``, with the rows i and j drawn without replacement. A head reads the mean of their
rectified outputs. Any photographs can be its images, e.g. the packaged ones.
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
from harness.planted.truth import PlantedLayer, PlantedNetwork, TrueParts, Truth

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline

#: Backbone that the planted photographs are built from.
REAL = "dinov2_small_saliency"
BLOCK = 9
N_UNITS = 48


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


def load(request: Request) -> Backbone:
    """Load the packaged DINOv2 with planted neurons.

    Raises:
        UserError: if the packages that contain the real weights are missing.
    """
    from harness import backbones

    real = backbones.load(REAL, device=request.device)
    vit: Any = real.model
    fc2 = vit.blocks[BLOCK].mlp.fc2
    layer = PlantedLayer(*planted_rows(fc2.weight.detach().cpu(), fc2.bias.detach().cpu(), N_UNITS))
    vit.blocks = nn.Sequential(*vit.blocks[:BLOCK], BlockBeforeOutput(vit.blocks[BLOCK]))
    vit.norm = nn.Identity()
    return dataclasses.replace(
        real,
        name="planted:photographs",
        title=f"planted: {N_UNITS} sums of two neurons of {real.title}, block {BLOCK}",
        model=PlantedNetwork(Features(vit), layer).to(request.device),
        default_site="units",
        pool=lambda model, images: model(images),
        _fingerprint=None,
    )


def planted_rows(weight: Tensor, bias: Tensor, n_units: int) -> tuple[Tensor, Tensor, Truth]:
    """Return weights (n_units, d_in), biases (n_units,) and truth of neurons that are each the sum of two real ones.

    The real layer has the weights (d_out, d_in) and biases (d_out,). The concepts are ``2 * n_units`` real neurons. A
    concept's strength is that neuron's output.
    """
    generator = torch.Generator().manual_seed(seed_of("planted", "photographs", len(weight)))
    chosen = torch.randperm(len(weight), generator=generator)[: 2 * n_units]
    parent = torch.arange(n_units).repeat_interleave(2)
    # The second part is the sum minus the first part, so the parts sum exactly in floating point too.
    summed = weight[chosen[0::2]] + weight[chosen[1::2]]
    summed_bias = bias[chosen[0::2]] + bias[chosen[1::2]]
    rows, biases = weight[chosen].clone(), bias[chosen].clone()
    rows[1::2], biases[1::2] = summed - rows[0::2], summed_bias - biases[0::2]
    parts = TrueParts(rows, biases, parent, torch.arange(2 * n_units))
    # A real neuron contributes its output to the planted neuron that it is a part of.
    writers = functional.one_hot(parent, n_units).to(weight.dtype)

    def strengths(baseline: Baseline) -> Tensor:
        outputs = torch.zeros(len(baseline.images), baseline.n_tokens, 2 * n_units)
        codes: list[Tensor] = []
        for index, _ in baseline.passes.run(lambda q, a: codes.append(functional.linear(q, rows.to(q), biases.to(q)))):
            outputs[index] = codes.pop().cpu()
        return outputs

    return summed, summed_bias, Truth(2 * n_units, writers, strengths, parts)
