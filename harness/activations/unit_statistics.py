"""Statistics of each unit from one streaming pass over the evaluation split: top images, extrema, counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.top_lists import TopLists

#: Bins of the histogram of maxima: half octaves from 2 ** -32 to 2 ** 32.
_HALF_OCTAVES = 128


class Peaks(NamedTuple):
    """Largest code of every unit on every image of a batch, on the device of the codes."""

    value: Tensor
    """(B, n_units) the unit's maximum over the image's tokens"""
    token: Tensor
    """(B, n_units) int64 first token of that maximum"""


class UnitStatistics:
    """Running statistics of every unit's codes, independent of the batch size and of the boundaries between batches.

    The state is on the device of the codes, and nothing of it is copied to the CPU before it is read. Memory is
    ``O(top_images * n_units)`` for any size of the split.

    Args:
        n_units: number of units.
        top_images: images kept per unit, ranked by the unit's maximum over the image's tokens. Of equal maxima, that of
            the lower image comes first.
    """

    def __init__(self, n_units: int, top_images: int) -> None:
        self.n_units = n_units
        self.top_images = top_images
        self.n_tokens = 0
        self.n_images = 0
        self._top = TopLists(n_units, top_images)
        self._maximum = torch.full((n_units,), -torch.inf)
        self._minimum = torch.full((n_units,), torch.inf)
        self._fires = torch.zeros(n_units, dtype=torch.int64)
        self._active = torch.zeros(n_units, dtype=torch.int64)
        self._l0_sums = torch.zeros(2, dtype=torch.float64)
        self._octaves = torch.zeros((n_units, _HALF_OCTAVES), dtype=torch.int32)
        self._on_cpu: dict[str, Tensor] = {}

    @property
    def top_value(self) -> Tensor:
        """(K, n_units) float32 maxima of the top images, descending; K is at most ``top_images``."""
        return self._read("top_value", self._top.value)

    @property
    def top_image(self) -> Tensor:
        """(K, n_units) int64 top images."""
        return self._read("top_image", self._top.image)

    @property
    def top_token(self) -> Tensor:
        """(K, n_units) int64 first token of the maximum on each top image."""
        return self._read("top_token", self._top.token)

    @property
    def maximum(self) -> Tensor:
        """(n_units,) float32 largest code."""
        return self._read("maximum", self._maximum)

    @property
    def minimum(self) -> Tensor:
        """(n_units,) float32 smallest code. The sign of a zero is undefined."""
        return self._read("minimum", self._minimum)

    @property
    def fires(self) -> Tensor:
        """(n_units,) int64 number of tokens whose code is positive."""
        return self._read("fires", self._fires)

    @property
    def active(self) -> Tensor:
        """(n_units,) int64 number of tokens whose code is not zero."""
        return self._read("active", self._active)

    @property
    def alive(self) -> Tensor:
        """(n_units,) bool: True for units whose code is positive at least once; the others are dead."""
        return self.fires > 0

    @property
    def l0_sums(self) -> Tensor:
        """(2,) float64 sum over images of the mean number of nonzero codes per token, and of its square."""
        return self._read("l0_sums", self._l0_sums)

    def update(self, codes: Tensor, index: Tensor) -> Peaks:
        """Add finite codes (B, T, n_units) of the images ``index`` (B,), which must come in ascending order.

        Returns:
            The peaks of these images, so that metrics need not find them again.
        """
        self._on_cpu.clear()
        self._move_to(codes.device)
        by_kernel = codes.device.type == "cpu" and codes.dtype == torch.float32 and codes.numel() > 0
        peaks, nonzero = self._reduced_by_kernel(codes) if by_kernel else self._reduced(codes)
        peak = peaks.value.float()
        self._top.update(peak, peaks.token, index.to(codes.device, torch.int64))
        self._maximum = torch.maximum(self._maximum, peak.amax(0))
        # Tokens of one image are not independent, so the standard error of L0 is over the means of images.
        l0 = nonzero.double() / codes.shape[1]
        self._l0_sums += torch.stack([l0.sum(), (l0**2).sum()])
        self.n_tokens += codes.shape[0] * codes.shape[1]
        self.n_images += len(index)
        self._count_octaves(peak)
        return peaks

    def _reduced(self, codes: Tensor) -> tuple[Peaks, Tensor]:
        """Add the minima and counts of codes; return their peaks, and the nonzero codes of each image (B,) int64."""
        peaks = Peaks(*codes.max(1))
        self._minimum = torch.minimum(self._minimum, codes.amin((0, 1)).float())
        self._fires += (codes > 0).sum((0, 1))
        nonzero = codes != 0
        self._active += nonzero.sum((0, 1))
        return peaks, nonzero.sum((1, 2))

    def _reduced_by_kernel(self, codes: Tensor) -> tuple[Peaks, Tensor]:
        """Do the same for float32 on the CPU in one reading of the codes, instead of five."""
        from harness.activations.unit_kernels import reduce_codes

        n_images, _, n_units = codes.shape
        # Fewer, wider blocks read longer pieces of memory; several blocks per thread share the work evenly.
        width = min(max(-(-n_units // (2 * torch.get_num_threads())), 256), 2048)
        peaks = Peaks(codes.new_empty((n_images, n_units)), torch.empty((n_images, n_units), dtype=torch.int64))
        nonzero = torch.zeros((-(-n_units // width), n_images), dtype=torch.int64)
        updated = (*peaks, self._minimum, self._fires, self._active, nonzero)
        reduce_codes(codes.detach().contiguous().numpy(), width, *(tensor.numpy() for tensor in updated))
        return peaks, nonzero.sum(0)

    def _count_octaves(self, peak: Tensor) -> None:
        """Count the images (B, n_units) by the half octave of the unit's maximum on them, if that is positive."""
        # The largest maximum is known only at the end, so the bins are powers of 2 ** 0.5, and relative ones follow.
        half_octaves = (2 * torch.log2(peak.clamp(min=torch.finfo(peak.dtype).tiny))).ceil().to(torch.int64)
        bins = (half_octaves + _HALF_OCTAVES // 2).clamp(0, _HALF_OCTAVES - 1)
        self._octaves.scatter_add_(1, bins.T, (peak > 0).to(torch.int32).T)

    def _move_to(self, device: torch.device) -> None:
        """Move the state to the device of the codes, once."""
        if self._maximum.device == device:
            return
        self._maximum, self._minimum = self._maximum.to(device), self._minimum.to(device)
        self._fires, self._active = self._fires.to(device), self._active.to(device)
        self._l0_sums, self._octaves = self._l0_sums.to(device), self._octaves.to(device)

    def _read(self, name: str, state: Tensor) -> Tensor:
        """Return a copy of some state on the CPU, the same one until the next update."""
        if name not in self._on_cpu:
            copied = torch.empty(state.shape, dtype=state.dtype)
            self._on_cpu[name] = copied.copy_(state)
        return self._on_cpu[name]

    def peak_histogram(self, bins: int = 24) -> np.ndarray:
        """Return (n_units, bins) int32: the number of images in each half octave below the unit's maximum.

        Entry i counts the images whose maximum m has ``k - i - 1 < 2 log2(m) <= k - i``, where k is 2 log2 of the
        unit's largest activation, rounded up. Images on which the unit is at most 0 are in no entry.
        """
        counts = self._octaves.cpu().flip(1)
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
