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
from harness.activations.heads import HEADS
from harness.activations.heads.base import Head, HeadKind, LinearHead
from harness.activations.probing_features import ProbingFeatures, features_file, probing_features
from harness.activations.random_sets import labelled_classes
from harness.atomic import remove
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

    def reads_features(self, cache: Path) -> bool:
        return not self._file(cache).exists()

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        backbone, probing = self.backbone, self.probing
        file = self._file(cache)
        report = BrokenReport() if report is None else report
        tensors = read_cached(file, _read, probing, report)
        if tensors is None:
            features = probing_features(
                backbone, probing, cache, batch_size=batch_size, progress=progress, report=report
            )
            tensors = _fit_probe(probing, features)
            save_cached(tensors, file, {"skipped": json.dumps(report.of(probing))})
        # Left here by a run that was killed after the fit, too.
        remove(features_file(backbone, probing, cache))
        weight, bias = (tensors[name].to(backbone.device) for name in ("weight", "bias"))
        return LinearHead(backbone, self.class_index, weight, bias)

    def _file(self, cache: Path) -> Path:
        source = {**self.backbone.identity(), "images": self.probing.fingerprint}
        return cache / "heads" / f"{digest({'probe': PROBE_VERSION, **source})}.safetensors"


def require_classes(labels: np.ndarray, name: str) -> None:
    """Raise UserError unless ``labels`` (n,), of the probing images of the set ``name``, cover at least two classes."""
    n_classes = labelled_classes(labels)
    if n_classes < 2:
        raise UserError(
            f"A linear probe needs readable probing images of at least two classes, and {name} has "
            f"{'only one' if n_classes else 'none'} there: add images, or use a backbone with a head of its own "
            "(--head own)."
        )


def _fit_probe(images: ImageSet, made: ProbingFeatures) -> dict[str, Tensor]:
    from sklearn.linear_model import LogisticRegression

    require_classes(images.labels, images.name)
    features = made.features.double()
    labels = torch.from_numpy(images.labels)[made.index]
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
