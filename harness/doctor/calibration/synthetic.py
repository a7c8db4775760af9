"""Synthetic images, tokens and a network for the calibration; seeded, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone
from harness.backbones.preprocessing import Preprocessing
from harness.datasets.base import ImageRecord, ImageSet
from harness.datasets.synthetic import MemoryReader
from methods.base import Reads

PREPROCESSING = Preprocessing(224, 256, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def image_set(n: int) -> ImageSet:
    """Return a set of n images of ten classes, which repeat :data:`DISTINCT` files."""
    records = tuple(ImageRecord(f"{number:07d}", Path(f"{number:07d}"), number % 10) for number in range(n))
    return ImageSet("synthetic", records, tuple(map(str, range(10))), reader=MemoryReader())


class SyntheticSite:
    """Linear layer with Gaussian weights."""

    def __init__(self, d_in: int, d_out: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(d_out, d_in, generator=generator) / d_in**0.5
        self.bias = torch.zeros(d_out)

    @property
    def d_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def d_out(self) -> int:
        return int(self.weight.shape[0])


class SyntheticTokens:
    """Tokens of a synthetic layer: a few groups of inputs around sparse centres.

    Args:
        device: device that draws them; they are kept on the CPU.
    """

    finite = True

    def __init__(self, n: int, site: SyntheticSite, device: str = "cpu") -> None:
        generator = torch.Generator(device).manual_seed(1)
        centres = torch.randn(32, site.d_in, generator=generator, device=device).relu()
        q = torch.randn(n, site.d_in, generator=generator, device=device).mul_(0.5)
        q = q.add_(centres[torch.arange(n, device=device) % 32]).cpu()
        self.fields: dict[str, Tensor] = {"input": q, "output": q @ site.weight.T}
        self.n = n
        self.image = np.arange(n)
        self.position = np.zeros(n, np.int32)
        self.label = np.arange(n) % 10
        self.fingerprint = f"synthetic-{n}"

    def width(self, field: Reads) -> int:
        return self.fields[field].shape[1]

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        yield from self.fields[field].split(size)

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        return self.fields[field][torch.from_numpy(np.asarray(rows, np.int64))]

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        return self.fields[field][:, start:stop]


class _Patches(nn.Module):
    """Tokens of an image: one per patch, (B, patches, width)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.project(images).flatten(2).mT
        return result


def small_backbone(width: int, device: str, patch: int = 16) -> Backbone:
    """Return a network of one linear layer on patches, whose own time is negligible beside that of an evaluation.

    Args:
        patch: side of a patch in pixels.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(_Patches(width, patch), nn.Linear(width, width))
    return Backbone(
        name="synthetic",
        title="synthetic",
        model=model.to(device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=0,
        default_site="1",
        source="synthetic",
        license="none",
        pretrained=False,
        pool=_pooled,
        head=_head,
        n_classes=10,
        grid_sides=frozenset({PREPROCESSING.size // patch}),
    )


def _pooled(model: nn.Module, images: Tensor) -> Tensor:
    result: Tensor = model(images).mean(1)
    return result


def _head(model: nn.Module, features: Tensor) -> Tensor:
    return features[:, :10]
