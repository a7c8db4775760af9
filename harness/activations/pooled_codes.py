"""Codes of whole images, the largest of each unit over the tokens, for metrics that choose units or fit on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.probing_images import LIMIT
from harness.datasets.base import ImageSet


@dataclass(frozen=True)
class LabelledCodes:
    """Codes of labelled images of a split."""

    image: Tensor
    """(n,) int64 index of each image in the split"""
    labels: Tensor
    """(n,) int64"""
    codes: Tensor
    """(n, n_units) float32"""
    layer: Tensor
    """(n, d_out) float32, the largest output of each neuron of the layer over the tokens"""
    n_images: int
    """number of images of the split"""

    def of_classes(self, labels: Tensor) -> LabelledCodes:
        """Return the images whose class is among ``labels``."""
        chosen = torch.isin(self.labels, labels)
        image, labels, codes, layer = (each[chosen] for each in (self.image, self.labels, self.codes, self.layer))
        return LabelledCodes(image, labels, codes, layer, self.n_images)

    def outcomes(self, positive: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return (counted, positive), each (n_images,) bool, for a property (n,) bool of these images."""
        sides = np.zeros((2, self.n_images), dtype=bool)
        sides[0, self.image.numpy()] = True
        sides[1, self.image.numpy()] = positive.numpy()
        return sides[0], sides[1]


class ImageCodes(NamedTuple):
    """Codes of one method on both splits."""

    probing: LabelledCodes
    """images to choose units and to fit on"""
    evaluation: LabelledCodes
    """images to measure"""


class PooledCodes:
    """Collector of the codes of a split's labelled images, on the CPU.

    Of more than :data:`~harness.activations.probing_images.LIMIT` images, a sample is kept in which each class is in
    proportion: 5000 images of 24,576 units are 490 MB.

    Args:
        images: the split.
    """

    def __init__(self, images: ImageSet) -> None:
        self._labels = images.labels
        wanted = np.flatnonzero(self._labels >= 0)
        if len(wanted) > LIMIT:
            names = {record.name for record in images.subset(wanted).split(evaluation=LIMIT).evaluation.records}
            wanted = np.asarray([index for index in wanted if images.records[index].name in names])
        self._wanted = torch.from_numpy(np.isin(np.arange(len(images)), wanted))
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, image: Tensor, peak: Tensor, a: Tensor) -> None:
        """Add images: indices (B,), largest codes (B, n_units), and outputs of the layer (B, T, d_out)."""
        chosen = self._wanted[image]
        rows = chosen.to(peak.device)
        self._rows.append((image[chosen], peak[rows].float().cpu(), a[rows].amax(1).float().cpu()))

    def labelled(self) -> LabelledCodes:
        """Return the codes of all batches."""
        image, codes, layer = (torch.cat(parts) for parts in zip(*self._rows, strict=True))
        return LabelledCodes(image, torch.from_numpy(self._labels)[image], codes, layer, len(self._labels))
