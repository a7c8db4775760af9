"""Codes of labelled images of other splits, for metrics that choose units or fit on one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import ImageCodes, LabelledCodes, PooledCodes
from harness.activations.probing_images import ProbingImages
from harness.cells.method_output import MethodCalls
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
    return None if probing is None else _codes(calls, probing, "probing images", progress)


def first_set_codes(
    calls: MethodCalls, first_set: ProbingImages | None, *, wanted: bool, progress: Progress
) -> LabelledCodes | None:
    """Return the codes of the evaluation images of the set of the fit; None if there are none or no metric needs them.

    Raises:
        UserError: if ``encode`` breaks the contract.
    """
    if not wanted or first_set is None:
        return None
    with section("codes of the first set"):
        return _codes(calls, first_set, "images of the first set", progress)


def _codes(calls: MethodCalls, source: ProbingImages, what: str, progress: Progress) -> LabelledCodes:
    images, done = source.images, 0
    pooled = PooledCodes(images)
    for image, q, a in source.tokens():
        with torch.inference_mode():
            x = (q if calls.method.spec.reads == "input" else a).flatten(0, 1)
            with section("encoder", DEVICE):
                codes = calls.encode(x).unflatten(0, a.shape[:2])
            pooled.update(image, codes, a)
        done += len(image)
        progress(done, len(images), what)
    return pooled.labelled()
