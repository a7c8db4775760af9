"""Image processors of transformers as a :class:`Preprocessing`, verified against the processor's own output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from harness.backbones.base import Preprocessing
from methods.errors import UserError

_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as processor configurations store them
# Steps that a Preprocessing expresses, and those that change nothing for RGB images without a segmentation map.
_UNDERSTOOD = {
    "do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_convert_rgb", "do_reduce_labels",
}  # fmt: skip


def preprocessing_of(load: Callable[[str | None], Any], spec: str) -> Preprocessing:
    """Return the preprocessing of an image processor.

    Args:
        load: function from the backend (``"pil"``, or None for the default) to the processor.

    Raises:
        UserError: if :class:`Preprocessing` cannot express it.
    """
    return as_preprocessing(load(None).to_dict(), spec)


def as_preprocessing(config: dict[str, Any], spec: str) -> Preprocessing:
    """Convert an image processor's configuration to a :class:`Preprocessing`.

    Raises:
        UserError: for a processor with other steps than resize, crop, scale by 1/255 and normalise.
    """
    size, crop = (
        {"shortest_edge": sides} if isinstance(sides, int) else dict(sides or {})
        for sides in (config.get("size"), config.get("crop_size"))
    )
    shortest, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    crop_height, crop_width = crop.get("height"), crop.get("width")
    crops = bool(config.get("do_center_crop")) and crop_height is not None
    factor = config.get("rescale_factor") or 1 / 255
    interpolation = _INTERPOLATIONS.get(int(config.get("resample") or 0))
    mean, std = config.get("image_mean"), config.get("image_std")
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
    options: dict[str, Any] = {"interpolation": interpolation, "mean": tuple(mean), "std": tuple(std)}
    if height and width and not crops and height == width:
        return Preprocessing(size=height, resize=height, fit="squash", **options)
    if shortest and crop_height and crops and crop_height == crop_width:
        return Preprocessing(size=crop_height, resize=shortest, **options)
    if shortest and "crop_pct" in config:
        # ConvNeXt's processor: below 384 px it resizes to size / crop_pct and crops; from 384 px on it squashes.
        if shortest >= 384:
            return Preprocessing(size=shortest, resize=shortest, fit="squash", **options)
        return Preprocessing(size=shortest, resize=int(shortest / (config["crop_pct"] or 0.875)), **options)
    raise UserError(
        f"The image processor of {spec!r} is not supported: size {config.get('size')}, crop {config.get('crop_size')}. "
        "It must give square images of one size."
    )
