"""Codes of whole images, largest and mean over the tokens, for metrics that choose units or fit on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.probing_images import LIMIT
from harness.datasets.base import ImageSet

Split = Literal["probing", "evaluation"]


@dataclass(frozen=True)
class LabelledCodes:
    """Codes of labelled images of a split."""

    image: Tensor
    """(n,) int64 index of each image in the split"""
    labels: Tensor
    """(n,) int64"""
    codes: Tensor
    """(n, n_units) float32, the largest code of each unit over the tokens"""
    layer: Tensor
    """(n, d_out) float32, the largest output of each neuron of the layer over the tokens"""
    mean_codes: Tensor
    """(n, n_units) float32, means over the tokens"""
    mean_layer: Tensor
    """(n, d_out) float32"""
    n_images: int
    """number of images of the split"""

    def of_classes(self, labels: Tensor) -> LabelledCodes:
        """Return the images whose class is among ``labels``."""
        chosen = torch.isin(self.labels, labels)
        rows = ("image", "labels", "codes", "layer", "mean_codes", "mean_layer")
        return replace(self, **{name: getattr(self, name)[chosen] for name in rows})

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


def labelled_sample(images: ImageSet, most: int) -> np.ndarray:
    """Return ascending indices (n,) of at most ``most`` labelled images, each class in proportion."""
    labelled = np.flatnonzero(images.labels >= 0)
    if len(labelled) <= most:
        return labelled
    names = {record.name for record in images.subset(labelled).split(evaluation=most).evaluation.records}
    return np.asarray([index for index in labelled if images.records[index].name in names])


class PooledCodes:
    """Collector of the codes of a split's labelled images, on the CPU.

    Of more than :data:`~harness.activations.probing_images.LIMIT` images, a sample is kept in which each class is in
    proportion: 5000 images of 24,576 units are 980 MB.

    Args:
        images: the split.
    """

    def __init__(self, images: ImageSet) -> None:
        self._labels = images.labels
        self._wanted = torch.from_numpy(np.isin(np.arange(len(images)), labelled_sample(images, LIMIT)))
        self._rows: list[tuple[Tensor, ...]] = []

    def update(self, image: Tensor, codes: Tensor, a: Tensor) -> None:
        """Add images: indices (B,), codes (B, T, n_units), and outputs of the layer (B, T, d_out)."""
        chosen = self._wanted[image]
        rows = chosen.to(codes.device)
        pooled = (pool[rows] for each in (codes, a) for pool in (each.amax(1), each.mean(1)))
        self._rows.append((image[chosen], *(each.float().cpu() for each in pooled)))

    def labelled(self) -> LabelledCodes:
        """Return the codes of all batches, which the collector then forgets."""
        rows, self._rows = self._rows, []
        if not rows:
            rows = [(torch.zeros(0, dtype=torch.int64), *(torch.zeros(0, 0),) * 4)]
        image, codes, mean_codes, layer, mean_layer = (torch.cat(parts) for parts in zip(*rows, strict=True))
        labels = torch.from_numpy(self._labels)[image]
        return LabelledCodes(image, labels, codes, layer, mean_codes, mean_layer, len(self._labels))
