"""Random image sets: what a unit would show whose top images were drawn by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.unit_statistics import UnitStatistics
from harness.identity import seed_of


class LabelledTop(NamedTuple):
    """Each unit's top images that have a label and on which it is active, strongest first."""

    order: Tensor
    """(U, K) places in the unit's top images; the first :attr:`size` of a row count"""
    label: Tensor
    """(U, K) int64 class of the images at :attr:`order`"""
    size: Tensor
    """(U,) int64 how many there are"""


def labelled_top(units: UnitStatistics, labels: np.ndarray, top: int) -> LabelledTop:
    """The ``top`` strongest images of every unit, those without a label or an activation above 0 left out.

    Args:
        labels: (n_images,) class of each image of the split, -1 where there is none.
    """
    image, value = units.top_image[:top].T, units.top_value[:top].T
    label = torch.from_numpy(np.asarray(labels, dtype=np.int64))[image]
    used = (label >= 0) & (value > 0)
    order = torch.argsort((~used).to(torch.int8), dim=1, stable=True)
    return LabelledTop(order, label.gather(1, order), used.sum(1))


def commonest_share(label: Tensor) -> Tensor:
    """(U,) float64: the share of label (U, n) that the commonest value of each row has."""
    counts = (label[:, :, None] == label[:, None, :]).sum(-1)
    return counts.amax(1).double() / label.shape[1]


def random_images(candidates: np.ndarray, size: int, draws: int, *, purpose: str) -> np.ndarray:
    """(draws, size) of the image numbers ``candidates``, no image twice in a draw; the same every time.

    The first n of a draw are a draw of n images.

    Raises:
        ValueError: for a size above the number of candidates.
    """
    generator = np.random.default_rng(seed_of("random image sets", purpose))
    return np.stack([generator.choice(candidates, size, replace=False) for _ in range(draws)])


def labelled_classes(labels: np.ndarray) -> int:
    """How many classes the labels (n_images,) name."""
    return len(np.unique(labels[labels >= 0]))
