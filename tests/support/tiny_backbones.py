"""Backbones of a few random weights: ``tiny_vit`` and ``tiny_cnn``; importing this registers them."""

from __future__ import annotations

import torch

from harness.backbones import register
from harness.backbones.base import Backbone, Preprocessing
from harness.backbones.sources.base import Request, Source

PREPROCESSING = Preprocessing(size=28, resize=32, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)


def _tiny_vit(request: Request) -> Backbone:
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(img_size=28, patch_size=7, embed_dim=24, depth=3, num_heads=3, num_classes=0)
        # Fresh weights give nearly the same output for every token; stronger ones give units something to do.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
    return Backbone(
        name=request.spec,
        title="tiny ViT",
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=1,
        default_site="blocks.1.mlp.fc2",
        source="tests",
        license="none",
        pretrained=False,
        pool=lambda net, images: net(images),
    )


def _tiny_cnn(request: Request) -> Backbone:
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential()
        model.add_module("stem", nn.Sequential(nn.Conv2d(3, 8, 7, stride=7), nn.ReLU()))
        model.add_module("mix", nn.Conv2d(8, 12, 1))
        model.add_module("pool", nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        model.add_module("fc", nn.Linear(12, 5))
    return Backbone(
        name=request.spec,
        title="tiny CNN",
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=0,
        default_site="mix",
        source="tests",
        license="none",
        pretrained=False,
        pool=lambda net, images: net.pool(net.mix(net.stem(images))),
        head=lambda net, features: net.fc(features),
        n_classes=5,
    )


for _name, _build in (("tiny_vit", _tiny_vit), ("tiny_cnn", _tiny_cnn)):
    register(Source(name=_name, title=_name, source="tests", license="none", build=_build))
