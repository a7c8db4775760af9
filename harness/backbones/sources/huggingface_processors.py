"""Image processors of transformers as a :class:`Preprocessing`, compared with the processor's own output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.backbones.base import Preprocessing
from harness.backbones.preprocessing_check import require_same_input
from methods.errors import UserError

# Pillow's numbers, as processor configurations store them. 0 is "nearest", and also written where none is stated.
_INTERPOLATIONS = {1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Steps that as_preprocessing reads, and one that concerns segmentation maps only.
_UNDERSTOOD = {"do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_convert_rgb", "do_reduce_labels"}
# Switches of steps whose names do not begin with "do_": EfficientNet's shift by -1, and its second normalisation.
_OTHER_STEPS = ("rescale_offset", "include_top")
# Switches of the views that processors of vision-language models cut out of an image.
_CROPPING = ("crop_to_patches", "do_image_splitting", "do_pan_and_scan")
#: Allowed difference in levels of 8-bit pixels from a processor that resizes with Pillow, as we do, ...
_PILLOW_TOLERANCE = 0.01
#: ... and from one that only resizes tensors with torchvision. On pure noise both differ by up to 22 levels (bicubic,
#: portrait, 512 px; mostly by 1), since values are clipped between the two passes in another order. A crop shifted by
#: one pixel makes more than 80 there.
_TENSOR_TOLERANCE = 25.0


def preprocessing_of(load: Callable[[str | None], Any], spec: str, *, one_view: bool = False) -> Preprocessing:
    """Return the preprocessing of an image processor, after comparing both on framed test images.

    Args:
        load: function from the backend (``"pil"``, or None for the default) to the processor.
        one_view: True for a processor that may cut an image into several views, as those of vision-language models do:
            only the first one is compared, which shows the whole image.

    Raises:
        UserError: if :class:`Preprocessing` cannot express the processor; unknown steps are named.
    """
    processor, default = load("pil"), load(None)
    config = processor.to_dict()
    preprocessing = as_preprocessing(config, spec)
    # transformers falls back to the class of the default backend if there is none for Pillow.
    levels = _TENSOR_TOLERANCE if type(processor) is type(default) else _PILLOW_TOLERANCE
    tolerance = levels / (255 * min(preprocessing.std))
    try:
        require_same_input(preprocessing, _input_of(processor, one_view), spec=spec, tolerance=tolerance)
    except UserError as error:
        steps = ", ".join(_unknown_steps(config)) or "unknown"
        raise UserError(f"{error} Steps of its image processor that are not supported: {steps}.") from error
    return preprocessing


def _input_of(processor: Any, one_view: bool) -> Callable[[Image.Image], Tensor]:
    """Return the function from an image to the processor's input (3, S, S)."""
    without_crops = {step: False for step in _CROPPING if one_view and hasattr(processor, step)}

    def reference(image: Image.Image) -> Tensor:
        values = processor(image, return_tensors="pt", **without_crops)["pixel_values"][0]
        while one_view and values.ndim > 3:  # (views, 3, S, S)
            values = values[0]
        return values.float() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values)).float()

    return reference


def _unknown_steps(config: dict[str, Any]) -> list[str]:
    """Return the steps of a processor that are switched on and not read by :func:`as_preprocessing`."""
    switches = [name for name in config if name.startswith("do_") and name not in _UNDERSTOOD]
    return [name for name in (*switches, *_OTHER_STEPS) if config.get(name) is True]


def as_preprocessing(config: dict[str, Any], spec: str) -> Preprocessing:
    """Convert an image processor's configuration to a :class:`Preprocessing`.

    Raises:
        UserError: for a processor with other steps than resize, crop, scale by 1/255 and normalise.
    """
    factor = config.get("rescale_factor") or 1 / 255
    interpolation = _INTERPOLATIONS.get(int(config.get("resample") or 0))
    mean, std = config.get("image_mean"), config.get("image_std")
    if config.get("do_normalize") is None:
        mean, std = (0.0,) * 3, (1.0,) * 3  # MobileViT's pixels stay in [0, 1]
    disabled = [step for step in ("do_resize", "do_rescale", "do_normalize") if config.get(step) is False]
    if disabled:
        raise UserError(
            f"The image processor of {spec!r} is not supported: it has {' and '.join(disabled)} switched off, but it "
            "must resize, scale by 1/255 and normalise."
        )
    if interpolation is None or not math.isclose(factor, 1 / 255, rel_tol=1e-3) or not mean or not std:
        raise UserError(
            f"The image processor of {spec!r} is not supported: it must resample bilinearly or bicubically (2 or 3, it "
            f"has {config.get('resample')}), scale by 1/255 (it has {factor}) and have a mean and a std."
        )
    geometry = _geometry(config)
    if geometry is None:
        raise UserError(
            f"The image processor of {spec!r} is not supported: size {config.get('size')}, crop "
            f"{config.get('crop_size')}. It must give square images of one size."
        )
    return Preprocessing(**geometry, interpolation=interpolation, mean=tuple(mean), std=tuple(std))


def _geometry(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return size, resize and fit of a processor, None if its images are not square and of one size."""
    size, crop = (
        {"shortest_edge": sides} if isinstance(sides, int) else dict(sides or {})
        for sides in (config.get("size"), config.get("crop_size"))
    )
    shortest, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    crop_height, crop_width = crop.get("height"), crop.get("width")
    crops = bool(config.get("do_center_crop")) and crop_height is not None
    if shortest:
        resize, target = _resized_edge(config, shortest, crops), crop_height if crops else None
        if not crops and "crop_pct" in config:
            # ConvNeXt's processor: from 384 px on it squashes, below it crops to the size.
            if shortest >= 384:
                return {"size": shortest, "resize": shortest, "fit": "squash"}
            target = crop_width = crop_height = shortest
        if target and crop_height == crop_width and resize >= target:
            return {"size": target, "resize": resize, "corner": "floor"}
    elif height and height == width and (not crops or height == crop_height == crop_width):
        return {"size": height, "resize": height, "fit": "squash"}
    elif height and height == width and crop_height and crop_height == crop_width and height > crop_height:
        return {"size": crop_height, "resize": height, "fit": "squash_crop", "corner": "floor"}
    return None


def _resized_edge(config: dict[str, Any], shortest: int, crops: bool) -> int:
    """Return the length to which the shorter side is resized, in pixels."""
    if str(config.get("image_processor_type", "")).startswith("Levit"):
        return int(256 / 224 * shortest)
    if "crop_pct" in config:  # ConvNeXt without a crop size, PoolFormer with one
        return int(shortest / (config["crop_pct"] or (1.0 if crops else 0.875)))
    return shortest
