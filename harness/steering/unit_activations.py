"""Activation of every unit on every image of a split: its maximum over the tokens of the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.forward import Passes
from harness.errors import UserError
from harness.steering.stored_layers import StoredLayer
from methods import METHODS
from methods.base import Method, Progress, no_progress
from methods.plugin_calls import calling

#: Largest size of the table of activations in bytes: 50,000 images and 80,000 units.
SIZE_LIMIT = 16 * 2**30

SPLITS = ("evaluation", "probing")


class UnitActivations(NamedTuple):
    """Activations of the units of one method on the readable images of a split."""

    image: np.ndarray
    """(n,) int64 image indices of the split, ascending"""
    values: Tensor
    """(n, n_units) float32 on the CPU: the largest code over all tokens of the image, as units are ranked elsewhere"""


def unit_activations(
    method: Method, layer: StoredLayer, split: str, *, progress: Progress = no_progress
) -> UnitActivations:
    """Encode the images of a split.

    Args:
        method: fitted method of the layer.
        layer: the layer.
        split: ``evaluation`` or ``probing``.
        progress: receives the number of images.

    Raises:
        UserError: if the table would be larger than 16 GiB, or the method's codes are not finite.
    """
    images = layer.prepared.evaluation if split == "evaluation" else layer.prepared.probing
    n_bytes = 4 * len(images) * method.n_units
    if n_bytes > SIZE_LIMIT:
        raise UserError(
            f"The activations of {method.n_units} units on {len(images)} images take {n_bytes / 2**30:.0f} GiB, and at "
            f"most {SIZE_LIMIT >> 30} are held: use fewer images (--evaluation)."
        )
    indices, rows = [], []
    done = 0
    for image, x in _inputs(method, layer, split):
        with torch.inference_mode(), calling(METHODS, method.spec.name):
            codes = method.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            rows.append(codes.amax(1).float().cpu())
        if not bool(torch.isfinite(rows[-1]).all()):
            raise UserError(f"{method.spec.name} encodes NaN or infinity: its fit has failed.")
        indices.append(image.numpy())
        done += len(image)
        progress(done, len(images), "images encoded")
    if not rows:
        raise UserError(f"None of the {len(images)} {split} images can be read.")
    return UnitActivations(np.concatenate(indices), torch.cat(rows))


def _inputs(method: Method, layer: StoredLayer, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield image indices (B,) and what the method reads (B, T, d)."""
    if split == "evaluation" and method.spec.reads == "output" and layer.baseline.tokens.dtype == "float32":
        yield from layer.baseline.outputs()
        return
    passes: Passes = layer.baseline.passes if split == "evaluation" else layer.probing_passes()
    for tokens in passes.tokens(np.arange(len(passes.images))):
        yield tokens.image, tokens.q if method.spec.reads == "input" else tokens.a
