"""Statistics of each unit from one streaming pass over the evaluation split: top images, extrema, counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Bins of the histogram of maxima: half octaves from 2 ** -32 to 2 ** 32.
_HALF_OCTAVES = 128


class Peaks(NamedTuple):
    """Largest code of every unit on every image of a batch, on the device of the codes."""

    value: Tensor
    """(B, n_units) the unit's maximum over the image's tokens"""
    token: Tensor
    """(B, n_units) int64 token of that maximum"""


class UnitStatistics:
    """Running statistics of every unit's codes, independent of the batch size and of the boundaries between batches.

    Memory is ``O(top_images * n_units)`` for any size of the split.

    Args:
        top_images: images kept per unit, ranked by the unit's maximum over the image's tokens.
    """

    def __init__(self, n_units: int, top_images: int) -> None:
        self.top_images = top_images
        self.top_value = torch.full((0, n_units), -torch.inf)
        self.top_image = torch.zeros((0, n_units), dtype=torch.int64)
        self.top_token = torch.zeros((0, n_units), dtype=torch.int64)
        self.maximum = torch.full((n_units,), -torch.inf)
        self.minimum = torch.full((n_units,), torch.inf)
        self.fires = torch.zeros(n_units, dtype=torch.int64)
        self.active = torch.zeros(n_units, dtype=torch.int64)
        self.n_tokens = 0
        self.n_images = 0
        self._octaves = torch.zeros((n_units, _HALF_OCTAVES), dtype=torch.int32)

    @property
    def n_units(self) -> int:
        return len(self.maximum)

    @property
    def alive(self) -> Tensor:
        """(n_units,) bool: True for units whose code is positive at least once; the others are dead."""
        return self.fires > 0

    def update(self, codes: Tensor, index: Tensor) -> Peaks:
        """Add codes (B, T, n_units) of the images ``index`` (B,), which must come in ascending order.

        Returns:
            The peaks of these images, so that metrics need not find them again.
        """
        peaks = Peaks(*codes.max(1))
        peak, token = peaks.value.float().cpu(), peaks.token.cpu()
        images = index.to(torch.int64)[:, None].expand_as(token)
        values = torch.cat([self.top_value, peak])
        # A stable sort with earlier images first gives ties to the lower image, whatever the batch size.
        self.top_value, order = torch.sort(values, dim=0, descending=True, stable=True)
        self.top_value, order = self.top_value[: self.top_images], order[: self.top_images]
        self.top_image = torch.cat([self.top_image, images]).gather(0, order)
        self.top_token = torch.cat([self.top_token, token]).gather(0, order)
        self.maximum = torch.maximum(self.maximum, peak.amax(0))
        self.minimum = torch.minimum(self.minimum, codes.amin((0, 1)).float().cpu())
        self.fires += (codes > 0).sum((0, 1)).cpu()
        self.active += (codes != 0).sum((0, 1)).cpu()
        self.n_tokens += codes.shape[0] * codes.shape[1]
        self.n_images += len(index)
        self._count_octaves(peak)
        return peaks

    def _count_octaves(self, peak: Tensor) -> None:
        """Count the images (B, n_units) by the half octave of the unit's maximum on them, if that is positive."""
        # The largest maximum is known only at the end, so the bins are powers of 2 ** 0.5, and relative ones follow.
        half_octaves = (2 * torch.log2(peak.clamp(min=torch.finfo(peak.dtype).tiny))).ceil().to(torch.int64)
        bins = (half_octaves + _HALF_OCTAVES // 2).clamp(0, _HALF_OCTAVES - 1)
        self._octaves.scatter_add_(1, bins.T, (peak > 0).to(torch.int32).T)

    def peak_histogram(self, bins: int = 24) -> np.ndarray:
        """Return (n_units, bins) int32: the number of images in each half octave below the unit's maximum.

        Entry i counts the images whose maximum m has ``k - i - 1 < 2 log2(m) <= k - i``, where k is 2 log2 of the
        unit's largest activation, rounded up. Images on which the unit is at most 0 are in no entry.
        """
        counts = self._octaves.flip(1)
        first = (counts > 0).to(torch.int8).argmax(1)
        columns = (first[:, None] + torch.arange(bins)).clamp(max=_HALF_OCTAVES - 1)
        padded = torch.where(first[:, None] + torch.arange(bins) < _HALF_OCTAVES, counts.gather(1, columns), 0)
        result: np.ndarray = padded.numpy()
        return result

    def weights(self) -> Tensor:
        """Return (K, n_units) min-max normalised activations of the top images: ``(value - min) / (max - min)``.

        Minimum and maximum are the unit's over all tokens of the split; NaN if they are equal.
        """
        span = (self.maximum - self.minimum).double()
        return (self.top_value.double() - self.minimum.double()) / torch.where(span > 0, span, torch.nan)
