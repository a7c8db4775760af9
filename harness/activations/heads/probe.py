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
from harness.activations.heads.logistic import fit_logistic, moments
from harness.activations.probing_features import ProbingFeatures, features_file, probing_features
from harness.activations.random_sets import labelled_classes
from harness.atomic import remove
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from harness.identity import digest
from methods.base import Device, Progress, no_progress

#: Increase when the probe's recipe changes: it is part of the identity of every cell with a probe.
PROBE_VERSION = 1

#: Rows times features times classes up to which scikit-learn fits the probe, on the CPU whatever the device: 126,000
#: images of 100 classes with 768 features. A pass over more takes seconds and its matrices many gigabytes.
SKLEARN_UP_TO = 10**10

#: Smallest scale of a feature: one that does not vary has no weight.
LEAST_SCALE = 1e-6


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
            # Says that the probe is not from the cache, whichever pass made the features: its time counts.
            progress(0, 1, "fit of the linear probe")
            tensors = _fit_probe(probing, features, backbone.device, progress)
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


def _fit_probe(images: ImageSet, made: ProbingFeatures, device: Device, progress: Progress) -> dict[str, Tensor]:
    require_classes(images.labels, images.name)
    features, labels = made.features, torch.from_numpy(images.labels)[made.index]
    require_classes(labels.numpy(), images.name)
    labelled = labels >= 0
    if not labelled.all():
        features, labels = features[labelled], labels[labelled]
    return fit_head(features, labels, len(images.classes), device=device, progress=progress)


def fit_head(
    features: Tensor,
    labels: Tensor,
    n_classes: int,
    *,
    device: Device = "cpu",
    sklearn_up_to: int = SKLEARN_UP_TO,
    progress: Progress = no_progress,
) -> dict[str, Tensor]:
    """Return ``weight`` (n_classes, d) and ``bias`` (n_classes,), float32, of a probe of the features.

    A class without features is never predicted.

    Args:
        features: (n, d) on the CPU.
        labels: (n,) int64 in 0..n_classes-1, of at least two classes.
        device: of the fit of a large set; small ones are fitted on the CPU and give the same probe on any machine.
        sklearn_up_to: largest product of rows, features and classes that scikit-learn fits.

    Raises:
        UserError: if a feature is NaN or infinite.
    """
    if not bool(features.sum(dtype=torch.float64).isfinite()) and not bool(features.isfinite().all()):
        raise UserError(
            "The linear probe cannot be fitted: the network's features contain NaN or infinity; check the backbone's "
            "weights and preprocessing."
        )
    present = labels.unique()
    if features.numel() * len(present) <= sklearn_up_to:
        coefficients, intercepts, mean, scale = _by_sklearn(features, labels)
    else:
        mean, scale = moments(features)
        scale = scale.clamp_min(LEAST_SCALE)
        positions = torch.searchsorted(present, labels)
        fit = fit_logistic(features, positions, mean, scale, device=device, progress=progress)
        coefficients, intercepts = fit.coefficients, fit.intercepts
    weight = torch.zeros(n_classes, features.shape[1], dtype=torch.float64)
    # A class without a readable probing image keeps its index and is never predicted: the other classes' indices
    # must not shift.
    bias = torch.full((n_classes,), -1e4, dtype=torch.float64)
    if len(present) == 2:
        coefficients = torch.cat([-coefficients, coefficients]) / 2
        intercepts = torch.cat([-intercepts, intercepts]) / 2
    weight[present] = coefficients / scale
    bias[present] = intercepts - (coefficients / scale) @ mean
    return {"weight": weight.float().contiguous(), "bias": bias.float().contiguous()}


def _by_sklearn(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return coefficients and intercepts of standardised features, and their mean and scale."""
    from sklearn.linear_model import LogisticRegression

    features = features.double()
    mean, scale = features.mean(0), features.std(0).clamp_min(LEAST_SCALE)
    model = LogisticRegression(max_iter=2000)
    model.fit(((features - mean) / scale).numpy(), labels.numpy())
    return torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_), mean, scale


def _read(file: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        skipped: dict[str, str] = json.loads((opened.metadata() or {}).get("skipped", "{}"))
    if tensors["weight"].shape[0] != tensors["bias"].shape[0]:
        raise ValueError("weight and bias do not fit together")
    return tensors, skipped
