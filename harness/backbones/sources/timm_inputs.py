"""Preprocessing of timm models: timm's data configuration as a :class:`Preprocessing`, checked against timm's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.backbones.preprocessing import Preprocessing
from harness.backbones.preprocessing_check import require_same_input
from methods.errors import UserError

#: Largest difference of one normalised value from timm's, whose arithmetic is the same: rounding of float32 only.
TOLERANCE = 1e-5

#: Input side of timm's DINOv2 models, and the one at which they are commonly evaluated, in pixels.
_DINOV2_RECORD, DINOV2_SIZE = 518, 224


def is_dinov2(name: str) -> bool:
    """Return True if the timm model ``name`` is a DINOv2 ViT, with or without registers."""
    return name.split(".")[0].endswith(("_dinov2", "_reg4_dinov2"))


def data_config(pretrained_cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return timm's data configuration of the weights of the model ``name``, with every default filled in.

    DINOv2's record is for 518 px without a margin; it is replaced by 224 px, at which DINOv2 itself resizes to 256 and
    crops.
    """
    from timm.data import resolve_data_config

    config: dict[str, Any] = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
    if is_dinov2(name) and tuple(config["input_size"]) == (3, _DINOV2_RECORD, _DINOV2_RECORD):
        config.update(input_size=(3, DINOV2_SIZE, DINOV2_SIZE), crop_pct=DINOV2_SIZE / 256)
    return config


def as_preprocessing(config: Mapping[str, Any], spec: str) -> Preprocessing:
    """Convert timm's data configuration, and check the result against ``timm.data.create_transform``.

    Args:
        config: from :func:`data_config`.
        spec: name of the model in messages.

    Raises:
        UserError: for inputs that are not square or not RGB, a transform that :class:`Preprocessing` cannot express,
            and if the two transforms differ on the test images.
    """
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise UserError(f"{spec!r} takes {channels} x {height} x {width} inputs: only square RGB inputs are supported.")
    if config["crop_pct"] > 1:
        raise UserError(
            f"{spec!r} has a crop_pct of {config['crop_pct']}, which pads images with black: only crop_pct up to 1 is "
            "supported."
        )
    fit, resize = _fit(config["crop_mode"], height, math.floor(height / config["crop_pct"]), spec)
    preprocessing = Preprocessing(
        size=height,
        resize=resize,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        fit=fit,
    )
    _check(preprocessing, config, spec)
    return preprocessing


def _fit(crop_mode: str, size: int, resize: int, spec: str) -> tuple[str, int]:
    """Return ``fit`` and ``resize`` of a :class:`Preprocessing`; ``resize`` is timm's size before the crop."""
    if crop_mode == "center":
        return "crop", resize
    if crop_mode == "squash":
        return ("squash" if resize == size else "squash_crop"), resize
    if crop_mode == "border":
        return "border", resize
    raise UserError(f"{spec!r} crops by {crop_mode!r}: only 'center', 'squash' and 'border' are supported.")


def _check(preprocessing: Preprocessing, config: Mapping[str, Any], spec: str) -> None:
    from timm.data import create_transform

    transform: Any = create_transform(**config, is_training=False)
    require_same_input(preprocessing, transform, spec=spec, tolerance=TOLERANCE)
