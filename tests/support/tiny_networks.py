"""The tiny backbones of conftest.py as measured for cost: their layers, sizes, inputs, and methods that need no fit."""

from __future__ import annotations

import torch
from in_memory import MemoryTokens
from torch import Tensor

from harness.activations.linear_site import LinearLayerSite
from harness.backbones.base import Backbone
from methods.base import make_config
from methods.random_split import RandomSplit
from methods.sae.topk import TopKSAE

PATHS = {"tiny_vit": "blocks.1.mlp.fc2", "tiny_cnn": "mix"}
#: Tokens, width, depth, inputs of a patch: the tiny ViT of these tests.
T, D, DEPTH, PATCH = 17, 24, 3, 3 * 7 * 7


def images_of(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(3))


def split_of(backbone: Backbone, path: str, parts: int = 3) -> RandomSplit:
    method = RandomSplit(make_config(RandomSplit, {"parts": parts}))
    site = LinearLayerSite(backbone.model, path, n_prefix_tokens=0)
    tokens = MemoryTokens(torch.zeros(2, site.d_in), torch.zeros(2, site.d_out))
    return method.fit(tokens, site, seed=1)  # type: ignore[arg-type]


def topk(n_units: int, d: int, k: int = 2) -> TopKSAE:
    method = TopKSAE(make_config(TopKSAE, {"k": k}))
    method.encoder_weight, method.encoder_bias = torch.randn(n_units, d), torch.zeros(n_units)
    method.atoms, method.output_bias = torch.randn(n_units, d), torch.zeros(d)
    return method
