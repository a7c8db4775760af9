"""Sparse autoencoders on the layer's output, one family a file."""

from __future__ import annotations

from methods.sae import (
    archetypal,
    batchtopk,
    frozen_decoder,
    jumprelu,
    matching_pursuit,
    matryoshka,
    topk,
    vanilla,
)

__all__ = [
    "archetypal",
    "batchtopk",
    "frozen_decoder",
    "jumprelu",
    "matching_pursuit",
    "matryoshka",
    "topk",
    "vanilla",
]
