"""Supervised ViT-B/16 of the paper."""

from __future__ import annotations

from functools import partial

from harness.backbones import register
from harness.backbones.sources.base import TIMM, Source
from harness.backbones.sources.hub import in_huggingface_cache

register(
    Source(
        name="augreg_vit_base",
        title="AugReg ViT-B/16",
        source="timm",
        license="Apache-2.0",
        build="harness.backbones.sources.timm:load",
        identifier="vit_base_patch16_224.augreg_in21k_ft_in1k",
        requires=(TIMM,),
        hub=True,
        cached=partial(in_huggingface_cache, "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"),
    )
)
