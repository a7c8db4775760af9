"""A site and probing tokens without a backbone, for tests of methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class MemorySite:
    weight: Tensor
    bias: Tensor

    @property
    def d_in(self) -> int:
        return self.weight.shape[1]

    @property
    def d_out(self) -> int:
        return self.weight.shape[0]


class MemoryTokens:
    def __init__(self, q: Tensor, a: Tensor) -> None:
        self.fields = {"input": q, "output": a}
        self.n = len(q)
        self.image = np.arange(self.n) // 4
        self.position = (np.arange(self.n) % 4 - 1).astype(np.int32)
        self.label = self.image % 3

    def width(self, field: str) -> int:
        return self.fields[field].shape[1]

    def batches(self, field: str, size: int) -> Iterator[Tensor]:
        for start in range(0, self.n, size):
            yield self.fields[field][start : start + size]

    def gather(self, field: str, rows: np.ndarray) -> Tensor:
        return self.fields[field][torch.as_tensor(rows)]

    def columns(self, field: str, start: int, stop: int) -> Tensor:
        return self.fields[field][:, start:stop]


def small_layer(
    n: int = 240, d_in: int = 16, d_out: int = 6, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[MemorySite, MemoryTokens]:
    """Tokens of three groups that each use their own input dimensions, through a random linear layer."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3
    q = 0.05 * torch.rand(n, d_in, generator=generator)
    for number in range(3):
        own = slice(number * d_in // 3, (number + 1) * d_in // 3)
        q[group == number, own] += 1 + 0.2 * torch.rand(
            int((group == number).sum()), own.stop - own.start, generator=generator
        )
    weight = torch.randn(d_out, d_in, generator=generator).abs() + 0.2
    bias = torch.randn(d_out, generator=generator)
    site = MemorySite(weight.to(dtype), bias.to(dtype))
    return site, MemoryTokens(q.to(dtype), q.to(dtype) @ site.weight.T + site.bias)
