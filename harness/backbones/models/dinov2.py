"""DINOv2 ViT-S/14, ViT-B/14 and ViT-L/14 of the paper, with their original weights."""

from __future__ import annotations

from functools import partial

from harness.backbones import register
from harness.backbones.sources.base import TIMM, Source
from harness.backbones.sources.hub import in_torch_cache

for letter in "SBL":
    register(
        Source(
            name=f"dinov2_vit{letter.lower()}14",
            title=f"DINOv2 ViT-{letter}/14",
            source="facebookresearch/dinov2",
            license="Apache-2.0",
            build="harness.backbones.sources.dinov2:load",
            identifier=f"dinov2_vit{letter.lower()}14",
            requires=(TIMM,),
            hub=True,
            cached=partial(in_torch_cache, f"dinov2_vit{letter.lower()}14_pretrain.pth"),
        )
    )
