"""Checks of every backbone when it is loaded: finite weights, and features that depend on the image alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from harness.backbones.base import Backbone
from harness.backbones.sources.checkpoint import require_finite
from harness.backbones.token_layout import closed_under_halving, square_maps, unrolled_grid
from methods.errors import UserError, first_line

#: Allowed difference, as a fraction of the largest feature, between an image alone and in a batch: matrix products of
#: other shapes round differently.
TOLERANCE = 1e-3
#: Seed of the random images, and of whatever the model draws.
SEED = 17


def check_loaded(backbone: Backbone) -> None:
    """Check a loaded backbone on two random images, and note the sides of its token grids.

    Three forward passes; the states of the global random generators are restored. Objects other than a
    :class:`Backbone` and models on the meta device are left alone.

    Raises:
        UserError: if weights are NaN or infinite, or if the features fail, are no finite (B, d), differ between two
            equal passes, or depend on the other images of the batch.
    """
    if not isinstance(backbone, Backbone) or backbone.device.type == "meta":
        return
    require_finite(backbone.model, f"The backbone {backbone.name!r}")
    with _seeded(backbone.device), torch.inference_mode():
        side = backbone.preprocessing.size
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(SEED)).to(backbone.device)
        with square_maps(backbone.model, len(images)) as sides:
            together = _features(backbone, images)
        alone = _features(backbone, images[:1])
        _require_repeatable(backbone, alone, _features(backbone, images[:1]))
        _require_independent(backbone, together, alone)
    unrolled = unrolled_grid(backbone.model)
    backbone.grid_sides = frozenset({unrolled}) if unrolled else closed_under_halving(sides) or None


def _features(backbone: Backbone, images: Tensor) -> Tensor:
    """Return the features of ``images``, checked for their shape and for finite values."""
    try:
        features = backbone.features(images)
    except UserError:
        raise
    except Exception as error:  # whatever the model raises
        raise UserError(
            f"The backbone {backbone.name!r} cannot process images of {backbone.preprocessing.size} px, the size that "
            f"its preprocessing states ({type(error).__name__}: {first_line(error)})."
        ) from error
    shape = tuple(getattr(features, "shape", ()))
    if len(shape) != 2 or shape[0] != len(images):
        raise UserError(
            f"The features of {backbone.name!r} have the shape {shape} for {len(images)} images; they must be one "
            "vector per image (B, d)."
        )
    if not bool(torch.isfinite(features).all()):
        raise UserError(
            f"The features of {backbone.name!r} are NaN or infinite on random images, although its weights are finite. "
            "Check the checkpoint and its configuration."
        )
    return features


def _require_repeatable(backbone: Backbone, first: Tensor, second: Tensor) -> None:
    if torch.equal(first, second):
        return
    difference = float((first - second).abs().max())
    raise UserError(
        f"The forward pass of {backbone.name!r} is random: the features of two passes on the same images differ by up "
        f"to {difference:.3g} (the largest is {float(first.abs().max()):.3g}). Use a model without random masking, "
        "dropout or sampling in evaluation mode, or switch them off in its configuration."
    )


def _require_independent(backbone: Backbone, together: Tensor, alone: Tensor) -> None:
    scale = float(together.abs().max()) or 1.0
    difference = float((together[:1] - alone).abs().max())
    if difference > TOLERANCE * scale:
        raise UserError(
            f"The features of {backbone.name!r} depend on the other images of the batch: an image alone and in a batch "
            f"of two differ by {difference:.3g} (the largest feature is {scale:.3g}). Batch norm must be in evaluation "
            "mode."
        )


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """Seed torch, numpy and Python within the context, so that the verdict is the same each time; restore them after.

    Consecutive passes still draw different numbers.
    """
    devices = [device] if device.type == "cuda" else []
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the model's code may draw from it)
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(SEED)
            np.random.seed(SEED)  # noqa: NPY002
            # torch.manual_seed would also seed devices whose state is not restored.
            torch.default_generator.manual_seed(SEED)
            for cuda in devices:
                with torch.cuda.device(cuda):
                    torch.cuda.manual_seed(SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
