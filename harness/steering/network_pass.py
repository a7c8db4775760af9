"""Features of images in a network other than the one that is decomposed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from harness.activations.center_crops import CropFolder, center_batches
from harness.backbones.base import Backbone
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from harness.steering.scorers.base import Images
from methods.base import Progress

BATCH_SIZE = 64


def features_of(network: Backbone, images: Images, progress: Progress) -> Iterator[Tensor]:
    """Yield the pooled features (B, d) of the readable images, in their order.

    Raises:
        UserError: if an image that could be read before cannot be read now.
    """
    network.model.to(images.device)
    done, read = 0, []
    report = BrokenReport()
    with torch.inference_mode():
        for batch in center_batches(
            images.images,
            network.preprocessing,
            batch_size=BATCH_SIZE,
            report=report,
            crops=None if images.cache is None else CropFolder.of(images.cache),
            positions=images.readable,
        ):
            yield network.features(batch.images.to(network.device))
            read.append(batch.index.numpy())
            done += len(batch.index)
            progress(done, len(images.readable), f"images in {network.name}")
    if not np.array_equal(np.concatenate(read) if read else np.zeros(0), images.readable):
        raise UserError(f"Some images cannot be read any more: {report.summary()}")
