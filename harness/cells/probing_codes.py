"""Codes of labelled images of other splits, for metrics that choose units or fit on one of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import ImageCodes, LabelledCodes, PooledCodes
from harness.activations.probing_images import ProbingImages
from harness.cells.method_output import MethodCalls
from harness.metrics.base import Metric
from methods.base import Progress
from methods.tracing import DEVICE, section, traced


class ImageCodesPass:
    """Collector of the codes of a method: the probing images are encoded at once, and evaluation images are added.

    Args:
        calls: the method.
        baseline: what the unmodified network gave, with the probing images.
        wanted: False if no metric needs the codes: nothing is collected.
        progress: receives the number of probing images.

    Raises:
        UserError: if ``encode`` breaks the contract.
    """

    def __init__(self, calls: MethodCalls, baseline: Baseline, *, wanted: bool, progress: Progress) -> None:
        self._probing = _probing_codes(calls, baseline.probing, progress) if wanted else None
        self._evaluation = None if self._probing is None else PooledCodes(baseline.images)

    def update(self, image: Tensor, codes: Tensor, a: Tensor) -> None:
        """Add evaluation images: indices (B,), codes (B, T, n_units), and outputs of the layer (B, T, d_out)."""
        if self._evaluation is not None:
            self._evaluation.update(image, codes, a)

    def result(self) -> ImageCodes | None:
        """Return the codes of both splits, or None if they are not collected."""
        if self._probing is None or self._evaluation is None:
            return None
        return ImageCodes(self._probing, self._evaluation.labelled())


@traced("codes of probing images")
def _probing_codes(calls: MethodCalls, probing: ProbingImages | None, progress: Progress) -> LabelledCodes | None:
    return None if probing is None else encoded(calls, probing, PooledCodes(probing.images), progress, "probing images")


def first_set_codes(
    calls: MethodCalls, first_set: ProbingImages | None, *, used: Iterable[type[Metric]], progress: Progress
) -> LabelledCodes | None:
    """Return the codes of the evaluation images of the set of the fit; None without any, or if no metric needs them.

    Raises:
        UserError: if ``encode`` breaks the contract.
    """
    if first_set is None or not any(metric.needs_first_set for metric in used):
        return None
    with section("codes of the first set"):
        return encoded(calls, first_set, PooledCodes(first_set.images), progress, "images of the first set")


def encoded(
    calls: MethodCalls,
    images: ProbingImages,
    pooled: PooledCodes,
    progress: Progress,
    name: str,
    positions: np.ndarray | None = None,
) -> LabelledCodes:
    """Return the codes of labelled images.

    Args:
        calls: the method.
        images: the images.
        pooled: collector of the codes.
        progress: receives the number of images.
        name: name of the images in the progress.
        positions: (n,) int64 index of each of the images in the set of the collector; None: it is their set.

    Raises:
        UserError: if ``encode`` breaks the contract.
    """
    done = 0
    for image, q, a in images.tokens():
        with torch.inference_mode():
            x = (q if calls.method.spec.reads == "input" else a).flatten(0, 1)
            with section("encoder", DEVICE):
                codes = calls.encode(x).unflatten(0, a.shape[:2])
            pooled.update(image if positions is None else torch.from_numpy(positions)[image], codes, a)
        done += len(image)
        progress(done, len(images.images), name)
    return pooled.labelled()
