"""Sizes of known layers, so that a suite can be estimated without loading weights."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """What an estimate needs of a backbone and its layer."""

    d_in: int
    d_out: int
    tokens: int
    """of an image at the layer, CLS included"""
    gflops: float
    """of one forward pass at 224 px: twice the multiply-adds"""


#: The layers that the shipped suites take apart; of an MLP the output layer. FLOPs from the architectures' tables.
_OF_BACKBONE = {
    "dinov2_vits14": Layer(1536, 384, 257, 12.1),
    "dinov2_vitb14": Layer(3072, 768, 257, 46.9),
    "dinov2_vitl14": Layer(4096, 1024, 257, 165.6),
    "dinov2_small_saliency": Layer(1536, 384, 257, 12.1),
    "augreg_vit_base": Layer(3072, 768, 197, 35.1),
    "siglip2_base": Layer(3072, 768, 196, 34.9),
    "convnextv2_base": Layer(4096, 1024, 49, 30.8),
}
_OF_SITE = {
    ("efficientnet_lite0", "conv_head"): Layer(320, 1280, 49, 0.8),
    ("efficientnet_lite0", "blocks.5.3.conv_pwl"): Layer(1152, 192, 49, 0.8),
    ("efficientnet_lite0", "blocks.6.0.conv_pwl"): Layer(1152, 320, 49, 0.8),
}


def layer_of(backbone: str, site: str | None) -> Layer | None:
    """The sizes of a layer; None where they are not known without loading the model."""
    if (backbone, site) in _OF_SITE:
        return _OF_SITE[backbone, site or ""]
    known = _OF_BACKBONE.get(backbone)
    if site is None or site.endswith(".fc2"):
        return known
    if known is not None and site.endswith(".attn.proj"):
        return known._replace(d_in=known.d_out)
    return None
