"""Random image sets: the chance level for a unit, whose top images are then drawn at random."""

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
    """(U, K) positions in the unit's top images; only the first :attr:`size` of a row are valid"""
    label: Tensor
    """(U, K) int64 class of the images at :attr:`order`"""
    size: Tensor
    """(U,) int64 number of valid entries per row"""


def labelled_top(units: UnitStatistics, labels: np.ndarray, top: int) -> LabelledTop:
    """Return the ``top`` strongest images of every unit, without those that lack a label or an activation above 0.

    Args:
        labels: (n_images,) class of each image of the split, -1 for an image without a label.
    """
    image, value = units.top_image[:top].T, units.top_value[:top].T
    label = torch.from_numpy(np.asarray(labels, dtype=np.int64))[image]
    used = (label >= 0) & (value > 0)
    order = torch.argsort((~used).to(torch.int8), dim=1, stable=True)
    return LabelledTop(order, label.gather(1, order), used.sum(1))


def commonest_share(label: Tensor) -> Tensor:
    """Return (U,) float64: the fraction of each row of ``label`` (U, n) that has the row's most common value."""
    counts = (label[:, :, None] == label[:, None, :]).sum(-1)
    return counts.amax(1).double() / label.shape[1]


def random_images(candidates: np.ndarray, size: int, draws: int, *, purpose: str) -> np.ndarray:
    """Draw (draws, size) image numbers from ``candidates``, without replacement within a draw.

    The result is deterministic for a given ``purpose``. The first n images of a draw are themselves a draw of n images.

    Raises:
        ValueError: if ``size`` is above the number of candidates.
    """
    generator = np.random.default_rng(seed_of("random image sets", purpose))
    return np.stack([generator.choice(candidates, size, replace=False) for _ in range(draws)])


def labelled_classes(labels: np.ndarray) -> int:
    """Return the number of classes that occur among ``labels`` (n_images,); -1 marks an image without a label."""
    return len(np.unique(labels[labels >= 0]))
