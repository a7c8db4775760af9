"""Accuracy of probes on codes and on the layer over the levels of a disturbance, paired over images and draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.heads.probe import fit_head
from harness.activations.pooled_codes import LabelledCodes
from harness.errors import UserError
from harness.metrics.base import Direction, Score
from harness.metrics.sparse_probe import has_classes, right_images
from methods.base import Method

#: Most evaluation images of a curve, each class in proportion: as many as are altered.
MOST_IMAGES = 1000


def has_curve(method: Method, baseline: Baseline) -> bool:
    """Return True if probes can be fitted, and the images are of the set of the fit.

    On a further set, a disturbance would be mixed with the change of the set, which ``probe_transfer`` measures.
    """
    return baseline.first_set is None and method.n_units > 0 and has_classes(baseline)


class Estimate(NamedTuple):
    """Mean over images and draws."""

    value: float
    error: float | None
    """standard error: images and draws are independent sources; None for fewer than two images"""

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """Return the mean of ``values`` (draws, n).

        With :math:`m_i` the mean of image i over draws, and :math:`m_d` of draw d over images, the squared error is
        ``var_i(m_i) / n + var_d(m_d) / D``. All images share the draws, so these are a source of their own.
        """
        draws, n = values.shape
        if n < 2:
            return cls(float(values.mean()) if n else math.nan, None)
        variance = values.mean(0).var(ddof=1) / n
        if draws > 1:
            variance += values.mean(1).var(ddof=1) / draws
        return cls(float(values.mean()), math.sqrt(variance))


class Level(NamedTuple):
    """Images that two probes predict at one level."""

    name: Mapping[str, Any]
    """what the level is, such as ``{"share": 20}``"""
    codes: np.ndarray
    """(draws, n) bool"""
    layer: np.ndarray
    """(draws, n) bool"""

    def point(self, majority: float) -> dict[str, Any]:
        """Return the level's accuracies, and the gain with its standard error, for the details of a score."""
        codes, layer = Estimate.of(self.codes.astype(float)), Estimate.of(self.layer.astype(float))
        gain = Estimate.of(self.codes.astype(float) - self.layer)
        return {
            **self.name,
            "codes": codes.value,
            "layer": layer.value,
            "gain": gain.value,
            "error": gain.error,
            "n": self.codes.shape[1],
            "at_chance": _is_at_chance(codes, majority) and _is_at_chance(layer, majority),
        }


def _is_at_chance(accuracy: Estimate, majority: float) -> bool:
    return not accuracy.value - 1.96 * (accuracy.error or 0.0) > majority


@dataclass
class RobustCurve:
    """Curve of one metric.

    Args:
        images: (n,) int64 index of each evaluation image in the split.
        majority: accuracy of the most frequent probing class on these images.
        clean: level without a disturbance, which is in the curve and not in the mean.
    """

    images: Tensor
    majority: float
    clean: Level
    levels: list[Level] = field(default_factory=list)

    def scores(self, metric: str, params: dict[str, Any], details: Mapping[str, Any]) -> Iterator[Score]:
        """Yield the mean accuracy over levels on codes, that on the layer, and the gain, with their details.

        The details of the first two hold, for paired comparisons: ``images``; ``right``, the number of ``trials``
        (levels times draws) in which each image is predicted; ``clean``, 1 for images that are predicted without a
        disturbance; and ``draws``, the accuracy of each draw.

        Raises:
            UserError: if there is no level.
        """
        if not self.levels:
            raise UserError(f"{metric} has no level on these images.")
        codes, layer = (np.mean([getattr(level, side) for level in self.levels], axis=0) for side in ("codes", "layer"))
        kind = "images and draws" if len(codes) > 1 else "images"
        n = len(self.images)
        points = [level.point(self.majority) for level in (self.clean, *self.levels)]
        points[0]["clean"] = True
        shared = {"majority": self.majority, "images": self.images.tolist(), **details}
        for name, values, clean, more in (
            (metric, codes, self.clean.codes, {"curve": points}),
            (f"{metric}_layer", layer, self.clean.layer, {}),
        ):
            of_images = {
                "trials": len(self.levels) * len(values),
                "right": np.rint(values.sum(0) * len(self.levels)).astype(int).tolist(),
                "draws": values.mean(1).tolist(),
                "clean": clean[0].astype(int).tolist(),
            }
            direction: Direction = "higher" if name == metric else "none"
            estimate = Estimate.of(values)
            yield Score(
                name,
                estimate.value,
                n,
                estimate.error,
                kind,
                direction=direction,
                details={**shared, **of_images, **more},
                params=params,
            )
        gain = Estimate.of(codes - layer)
        yield Score(f"{metric}_gain", gain.value, n, gain.error, kind, params=params)


class Sides(NamedTuple):
    """The same function of the codes and of the layer."""

    codes: Any
    layer: Any


class Probes:
    """Fits of a probe on codes and on the layer of the same images, and their predictions.

    Args:
        metric: name for messages.
        n_classes: number of classes of the image set.
        device: of the fit of a large set.
    """

    def __init__(self, metric: str, n_classes: int, device: torch.device) -> None:
        self._metric, self._n_classes, self._device = metric, n_classes, device

    def fit(self, codes: LabelledCodes, labels: Tensor, rows: Tensor | None = None) -> Sides:
        """Return the heads for codes and layer.

        Args:
            codes: n images.
            labels: (n,) int64 classes that the probes are fitted to.
            rows: (m,) images of these that are used; None for all.

        Raises:
            UserError: if a value is NaN or infinite, or the labels have one class.
        """
        chosen = slice(None) if rows is None else rows
        target = labels[chosen]
        if len(target.unique()) < 2:
            raise UserError(f"{self._metric}: the probing images have fewer than two classes; give images of two.")
        return Sides(
            *(
                fit_head(self._finite(x, "probing")[chosen], target, self._n_classes, device=self._device)
                for x in (codes.codes, codes.layer)
            )
        )

    def right(self, heads: Sides, codes: LabelledCodes) -> Sides:
        """Return (n,) bool for codes and layer: the images whose class is predicted.

        Raises:
            UserError: if there is no image, or a value is NaN or infinite.
        """
        if not len(codes.labels):
            raise UserError(f"{self._metric}: no evaluation image that can be read has a class of the probing images.")
        sides = zip(heads, (codes.codes, codes.layer), strict=True)
        return Sides(*(right_images(head, self._finite(x, "evaluation"), codes.labels).numpy() for head, x in sides))

    def _finite(self, x: Tensor, split: str) -> Tensor:
        bad = ~x.isfinite()
        if bool(bad.any()):
            raise UserError(
                f"{self._metric}: {int(bad.any(0).sum())} of {x.shape[1]} features contain NaN or infinity on "
                f"{split} images, and a probe needs finite ones; check the method and its training."
            )
        return x


def majority_share(train: LabelledCodes, test: LabelledCodes) -> float:
    """Return the share of the test images that have the most frequent class of the training images."""
    return float((test.labels == train.labels.mode().values).double().mean())


def of_images(codes: LabelledCodes, images: Tensor) -> LabelledCodes:
    """Return the rows of some images, given by their indices in the split."""
    rows = torch.isin(codes.image, images)
    names = ("image", "labels", "codes", "layer", "mean_codes", "mean_layer")
    return LabelledCodes(**{name: getattr(codes, name)[rows] for name in names}, n_images=codes.n_images)
