"""Statistics of units by a full stable sort of every batch: the brute-force twin of the harness's own."""

from __future__ import annotations

import torch
from torch import Tensor


class SortedStatistics:
    """Top images, extrema, counts and moments of L0, each computed by itself, on the CPU."""

    def __init__(self, n_units: int, top_images: int) -> None:
        self.top_images = top_images
        self.top_value = torch.full((0, n_units), -torch.inf)
        self.top_image = torch.zeros((0, n_units), dtype=torch.int64)
        self.top_token = torch.zeros((0, n_units), dtype=torch.int64)
        self.maximum = torch.full((n_units,), -torch.inf)
        self.minimum = torch.full((n_units,), torch.inf)
        self.fires = torch.zeros(n_units, dtype=torch.int64)
        self.active = torch.zeros(n_units, dtype=torch.int64)
        self.l0_sums = torch.zeros(2, dtype=torch.float64)
        self.octaves = torch.zeros((n_units, 128), dtype=torch.int32)

    def update(self, codes: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Add codes (B, T, n_units) of the images ``index`` (B,); return their peaks and the tokens of these."""
        value, token = codes.max(1)
        peak, token = value.float().cpu(), token.cpu()
        images = index.to(torch.int64)[:, None].expand_as(token)
        values = torch.cat([self.top_value, peak])
        self.top_value, order = torch.sort(values, dim=0, descending=True, stable=True)
        self.top_value, order = self.top_value[: self.top_images], order[: self.top_images]
        self.top_image = torch.cat([self.top_image, images]).gather(0, order)
        self.top_token = torch.cat([self.top_token, token]).gather(0, order)
        self.maximum = torch.maximum(self.maximum, peak.amax(0))
        self.minimum = torch.minimum(self.minimum, codes.amin((0, 1)).float().cpu())
        self.fires += (codes > 0).sum((0, 1)).cpu()
        self.active += (codes != 0).sum((0, 1)).cpu()
        per_image = (codes != 0).sum(-1).double().mean(-1).cpu()
        self.l0_sums += torch.stack([per_image.sum(), (per_image**2).sum()])
        half_octaves = (2 * torch.log2(peak.clamp(min=torch.finfo(peak.dtype).tiny))).ceil().to(torch.int64)
        bins = (half_octaves + 64).clamp(0, 127)
        self.octaves.scatter_add_(1, bins.T, (peak > 0).to(torch.int32).T)
        return value, token
