"""Sizes and costs of the layers that the shipped suites decompose, known without loading a backbone."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Architecture = Literal["vit_small", "vit_base", "convnext", "cnn"]


class Layer(NamedTuple):
    """Sizes of a layer and cost of its backbone, as far as an estimate needs them."""

    d_in: int
    d_out: int
    tokens: int
    """tokens per image at the layer, CLS included"""
    gflops: float
    """GFLOPs of one forward pass at 224 px: twice the multiply-adds"""
    architecture: Architecture = "vit_base"
    """network whose measured FLOP/s stand for this one"""
    before: float = 1.0
    """share of the forward pass up to the layer, at which the pass over the probing images stops"""
    after: float = 1.0
    """share of the forward pass after the stored state (:mod:`harness.activations.prefix_cache`)"""
    state: int = 0
    """values per image of that state; 0 if the network cannot be cut before the layer"""


#: Of an MLP, the output layer. FLOPs are from the architectures' tables.
_OF_BACKBONE = {
    "dinov2_vits14": Layer(1536, 384, 257, 12.1, "vit_small"),
    "dinov2_vitb14": Layer(3072, 768, 257, 46.9),
    "dinov2_vitl14": Layer(4096, 1024, 257, 165.6),
    "dinov2_small_saliency": Layer(1536, 384, 257, 12.1, "vit_small"),
    "augreg_vit_base": Layer(3072, 768, 197, 35.1),
    "siglip2_base": Layer(3072, 768, 196, 34.9),
    # The last of 36 blocks, which take about the same time each.
    "convnextv2_base": Layer(4096, 1024, 49, 30.8, "convnext", after=1 / 36, state=49 * 1024),
}
#: Backbone -> number of its blocks, which form an ``nn.Sequential``: the network is cut before the layer's block.
_DEPTHS = {
    "dinov2_vits14": 12,
    "dinov2_vitb14": 12,
    "dinov2_vitl14": 24,
    "dinov2_small_saliency": 12,
    "augreg_vit_base": 12,
}
#: The shares of the passes were counted with torch's FlopCounterMode.
_OF_SITE = {
    ("efficientnet_lite0", "conv_head"): Layer(320, 1280, 49, 0.8, "cnn", 1.0, 0.05, 49 * 320),
    ("efficientnet_lite0", "blocks.5.3.conv_pwl"): Layer(1152, 192, 49, 0.8, "cnn", 0.87, 0.19, 49 * 192),
    ("efficientnet_lite0", "blocks.6.0.conv_pwl"): Layer(1152, 320, 49, 0.8, "cnn", 0.95, 0.13, 49 * 192),
}


def layer_of(backbone: str, site: str | None) -> Layer | None:
    """Return the sizes of a layer, or None if they are not known without loading the model."""
    if (backbone, site) in _OF_SITE:
        return _OF_SITE[backbone, site or ""]
    layer = _OF_BACKBONE.get(backbone)
    if layer is None or site is None or site.endswith(".fc2"):
        return layer if layer is None else _cut(layer, backbone, site)
    if site.endswith(".attn.proj"):
        return _cut(layer._replace(d_in=layer.d_out), backbone, site)
    return None


def _cut(layer: Layer, backbone: str, site: str | None) -> Layer:
    """Return a layer of a transformer with the shares of its passes and the size of the stored state."""
    depth = _DEPTHS.get(backbone)
    if depth is None:
        return layer
    match = re.match(r"blocks\.(\d+)\.", site or f"blocks.{depth - 1}.")
    if match is None or int(match[1]) >= depth:
        return layer
    block = int(match[1])
    # No state is kept before the first block.
    state = layer.tokens * layer.d_out if block else 0
    return layer._replace(before=(block + 1) / depth, after=(depth - block) / depth if block else 1.0, state=state)
