"""ConvNeXtV2-Base of the paper."""

from __future__ import annotations

from functools import partial

from harness.backbones import register
from harness.backbones.sources.base import TIMM, Source
from harness.backbones.sources.hub import in_huggingface_cache

register(
    Source(
        name="convnextv2_base",
        title="ConvNeXtV2-Base",
        source="timm",
        license="MIT",
        build="harness.backbones.sources.timm:load",
        identifier="convnextv2_base.fcmae_ft_in22k_in1k",
        requires=(TIMM,),
        hub=True,
        cached=partial(in_huggingface_cache, "timm/convnextv2_base.fcmae_ft_in22k_in1k"),
    )
)
