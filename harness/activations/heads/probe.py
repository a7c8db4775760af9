"""Linear probe: a classification head fitted on the features of the probing images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness.activations.cached import read_cached, save_cached
from harness.activations.center_crops import CropFolder, center_batches
from harness.activations.heads import HEADS
from harness.activations.heads.base import Head, HeadKind, LinearHead
from harness.activations.random_sets import labelled_classes
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from harness.identity import digest
from methods.base import Progress, no_progress

#: Increase when the probe's recipe changes: it is part of the identity of every cell with a probe.
PROBE_VERSION = 1


@HEADS.register()
class Probe(HeadKind):
    """Multinomial logistic regression on standardised features of the probing images.

    The features are those of the centre crops in the unmodified network.
    """

    name = "probe"
    description = "linear probe, fitted on the probing images"
    fitted = True

    def check(self) -> None:
        """Raise UserError if the images have fewer than two classes."""
        require_classes(self.probing.labels, self.dataset)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.name, "version": PROBE_VERSION, "images": self.probing.fingerprint}

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        backbone, probing = self.backbone, self.probing
        identity = digest({"probe": PROBE_VERSION, **backbone.identity(), "images": probing.fingerprint})
        file = cache / "heads" / f"{identity}.safetensors"
        report = BrokenReport() if report is None else report
        tensors = read_cached(file, _read, probing, report)
        if tensors is None:
            tensors = _fit_probe(backbone, probing, CropFolder.of(cache), batch_size, progress, report)
            save_cached(tensors, file, {"skipped": json.dumps(report.of(probing))})
        weight, bias = (tensors[name].to(backbone.device) for name in ("weight", "bias"))
        return LinearHead(backbone, self.class_index, weight, bias)


def require_classes(labels: np.ndarray, name: str) -> None:
    """Raise UserError unless ``labels`` (n,), of the probing images of the set ``name``, cover at least two classes."""
    n_classes = labelled_classes(labels)
    if n_classes < 2:
        raise UserError(
            f"A linear probe needs readable probing images of at least two classes, and {name} has "
            f"{'only one' if n_classes else 'none'} there: add images, or use a backbone with a head of its own "
            "(--head own)."
        )


def _fit_probe(
    backbone: Backbone,
    images: ImageSet,
    crops: CropFolder,
    batch_size: int,
    progress: Progress,
    report: BrokenReport,
) -> dict[str, Tensor]:
    from sklearn.linear_model import LogisticRegression

    require_classes(images.labels, images.name)
    rows, indices = [], []
    with torch.inference_mode():
        for batch in center_batches(images, backbone.preprocessing, batch_size=batch_size, report=report, crops=crops):
            rows.append(backbone.features(batch.images.to(backbone.device)).float().cpu())
            indices.append(batch.index)
            progress(sum(map(len, indices)), len(images), "images for the linear probe")
    features = torch.cat(rows).double()
    labels = torch.from_numpy(images.labels)[torch.cat(indices)]
    labelled = labels >= 0
    require_classes(labels.numpy(), images.name)
    mean, scale = features[labelled].mean(0), features[labelled].std(0).clamp_min(1e-6)
    model = LogisticRegression(max_iter=2000)
    model.fit(((features[labelled] - mean) / scale).numpy(), labels[labelled].numpy())
    weight = torch.zeros(len(images.classes), features.shape[1], dtype=torch.float64)
    # A class without a readable probing image keeps its index and is never predicted: the other classes' indices
    # must not shift.
    bias = torch.full((len(images.classes),), -1e4, dtype=torch.float64)
    coefficients, intercepts = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(model.classes_) == 2:
        coefficients = torch.cat([-coefficients, coefficients]) / 2
        intercepts = torch.cat([-intercepts, intercepts]) / 2
    weight[model.classes_] = coefficients / scale
    bias[model.classes_] = intercepts - (coefficients / scale) @ mean
    return {"weight": weight.float().contiguous(), "bias": bias.float().contiguous()}


def _read(file: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        skipped: dict[str, str] = json.loads((opened.metadata() or {}).get("skipped", "{}"))
    if tensors["weight"].shape[0] != tensors["bias"].shape[0]:
        raise ValueError("weight and bias do not fit together")
    return tensors, skipped
