"""Embeddings of the evaluation images by a backbone that is not the one being decomposed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness import backbones
from harness.activations.cached import read_cached, save_cached
from harness.activations.center_crops import CropFolder, center_batches
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.identity import digest

#: Encoder of the images if a suite names none, and the one for layers of that backbone's network.
DEFAULT, OTHER = "efficientnet_lite0", "dinov2_small_saliency"
#: Increase when the computation changes: older embeddings on disk are then not read.
VERSION = 1


def default_encoder(backbone: str) -> str:
    """Return the encoder for layers of a backbone: one whose weights are packaged, and of another family."""
    return OTHER if "efficientnet" in backbone.casefold() else DEFAULT


@dataclass(frozen=True)
class ExternalImages:
    """Images with an encoder, which is loaded when the embeddings are first read."""

    images: ImageSet
    encoder: str
    """name of a backbone"""
    device: torch.device
    batch_size: int
    cache: Path

    @cached_property
    def embeddings(self) -> Tensor:
        """Unit-length features (n, d) float32 on the CPU, from the encoder's centre crop of each image.

        They are NaN for an image that cannot be read, or whose features are the zero vector.

        Raises:
            UserError: if the encoder cannot be loaded.
        """
        loaded = self._loaded
        source = {"embeddings": VERSION, **loaded.identity(), "images": self.images.fingerprint}
        file = self.cache / "embeddings" / f"{digest(source, length=24)}.safetensors"
        report = BrokenReport()
        cached = read_cached(file, self._read, self.images, report)
        if cached is not None:
            return cached
        embeddings = self._embed(loaded, report)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_cached({"embeddings": embeddings}, file, {"skipped": json.dumps(report.of(self.images))})
        return embeddings

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the encoder's weights and preprocessing."""
        return digest(self._loaded.identity())

    @cached_property
    def _loaded(self) -> Backbone:
        return backbones.load(self.encoder, device=str(self.device))

    def _read(self, file: Path) -> tuple[Tensor, Mapping[str, str]]:
        embeddings = load_file(file)["embeddings"]
        if embeddings.ndim != 2 or len(embeddings) != len(self.images) or embeddings.dtype != torch.float32:
            raise ValueError("not the embeddings of these images")
        with safe_open(file, "pt") as opened:
            skipped: dict[str, str] = json.loads((opened.metadata() or {}).get("skipped", "{}"))
        return embeddings, skipped

    def _embed(self, encoder: Backbone, report: BrokenReport) -> Tensor:
        rows: Tensor | None = None
        batches = center_batches(
            self.images,
            encoder.preprocessing,
            batch_size=self.batch_size,
            report=report,
            crops=CropFolder.of(self.cache),
        )
        for batch in batches:
            with torch.inference_mode():
                features = encoder.features(batch.images.to(encoder.device)).double()
            norms = features.norm(dim=1, keepdim=True)
            directions = torch.where(norms > 0, features / norms, torch.nan).float().cpu()
            if rows is None:
                rows = torch.full((len(self.images), directions.shape[1]), torch.nan)
            rows[batch.index] = directions
        return torch.full((len(self.images), 1), torch.nan) if rows is None else rows
