"""Features of the probing images, on which a head is fitted: made by the pass that collects the tokens, or by one more.

They are those of the centre crops in the unmodified network. The file ``<cache>/features/<identity>.safetensors`` only
bridges the time between the pass and the fit of the head, which removes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness.activations.cached import read_cached, save_cached
from harness.activations.center_crops import CropFolder, center_batches
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.identity import digest
from methods.base import Progress

FORMAT = 1


class ProbingFeatures(NamedTuple):
    """Features of the images that could be read."""

    features: Tensor
    """(n, d) float32, on the CPU"""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used of features
    """(n,) int64, positions in the image set"""


def features_file(backbone: Backbone, images: ImageSet, cache: Path) -> Path:
    """Return the path of the features of an image set."""
    identity = digest({"features": FORMAT, **backbone.identity(), "images": images.fingerprint})
    return cache / "features" / f"{identity}.safetensors"


def probing_features(
    backbone: Backbone,
    images: ImageSet,
    cache: Path,
    *,
    batch_size: int,
    progress: Progress,
    report: BrokenReport,
) -> ProbingFeatures:
    """Return the features of an image set: read from the cache, or from a pass over the images.

    Args:
        report: receives the images that cannot be read.
    """
    cached = read_cached(features_file(backbone, images, cache), partial(_read, len(images)), images, report)
    if cached is not None:
        return cached
    writer = FeatureWriter(backbone, images, batch_size)
    crops = CropFolder.of(cache)
    done = 0
    for batch in center_batches(images, backbone.preprocessing, batch_size=batch_size, report=report, crops=crops):
        writer.add_images(batch.index, batch.images)
        done += len(batch.index)
        progress(done, len(images), "images for the linear probe")
    return writer.result()


class FeatureWriter:
    """Features of an image set, batch by batch.

    Batches have ``batch_size`` images whatever is added at once, so the features do not depend on the pass.
    """

    def __init__(self, backbone: Backbone, images: ImageSet, batch_size: int) -> None:
        self.backbone = backbone
        self.images = images
        self.batch_size = batch_size
        self._features: list[Tensor] = []
        self._index: list[Tensor] = []
        self._waiting: list[Tensor] = []
        self._n_waiting = 0

    def add(self, index: Tensor, features: Tensor) -> None:
        """Append features (B, d) of the images ``index`` (B,), from a batch of ``batch_size`` images."""
        self._index.append(index)
        self._features.append(features.float().cpu())

    def add_images(self, index: Tensor, images: Tensor) -> None:
        """Append the images ``index`` (B,), given as the network's input (B, 3, S, S); they run in full batches."""
        self._index.append(index)
        self._waiting.append(images)
        self._n_waiting += len(images)
        while self._n_waiting >= self.batch_size:
            self._run(self.batch_size)

    def result(self) -> ProbingFeatures:
        """Return the features of all images added."""
        if self._n_waiting:
            self._run(self._n_waiting)
        return ProbingFeatures(torch.cat(self._features), torch.cat(self._index))

    def finish(self, cache: Path, report: BrokenReport) -> None:
        """Write the features to the cache."""
        features, index = self.result()
        metadata = {"skipped": json.dumps(report.of(self.images))}
        save_cached({"features": features, "index": index}, features_file(self.backbone, self.images, cache), metadata)

    def _run(self, n: int) -> None:
        waiting = torch.cat(self._waiting)
        batch, rest = waiting[:n], waiting[n:]
        self._waiting, self._n_waiting = ([rest] if len(rest) else []), len(rest)
        with torch.inference_mode():
            self._features.append(self.backbone.features(batch.to(self.backbone.device)).float().cpu())


def _read(n_images: int, file: Path) -> tuple[ProbingFeatures, Mapping[str, str]]:
    tensors = load_file(file)
    features, index = tensors["features"], tensors["index"]
    if features.ndim != 2 or index.shape != features.shape[:1] or index.dtype != torch.int64:
        raise ValueError("features and index do not fit together")
    if not len(index) or not 0 <= int(index.min()) <= int(index.max()) < n_images:
        raise ValueError("the index is of other images")
    with safe_open(file, "pt") as opened:
        skipped: dict[str, str] = json.loads((opened.metadata() or {}).get("skipped", "{}"))
    return ProbingFeatures(features, index), skipped
