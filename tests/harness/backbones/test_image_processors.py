"""A Hugging Face image processor's configuration as our own transform: what is the same, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backbones.sources.huggingface_processors import as_preprocessing
from methods.errors import UserError

COMMON: dict[str, Any] = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3, "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip
SIGLIP = {**COMMON, "resample": 2, "size": {"height": 224, "width": 224}}
CLIP = {**COMMON, "size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
DINO = {**COMMON, "size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
CONVNEXT = {**COMMON, "size": {"shortest_edge": 224}, "crop_pct": 0.875}


@pytest.mark.parametrize(
    "config, size, resize, fit, interpolation",
    [
        (SIGLIP, 224, 224, "squash", "bilinear"),
        (CLIP, 224, 224, "crop", "bicubic"),
        (DINO, 224, 256, "crop", "bicubic"),
        (CONVNEXT, 224, 256, "crop", "bicubic"),
        ({**CONVNEXT, "size": {"shortest_edge": 384}}, 384, 384, "squash", "bicubic"),
    ],
)
def test_known_processors(config: dict[str, Any], size: int, resize: int, fit: str, interpolation: str) -> None:
    found = as_preprocessing(config, "hf:a")
    assert (found.size, found.resize, found.fit, found.interpolation) == (size, resize, fit, interpolation)
    assert found.mean == found.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"do_normalize": False}, "do_normalize switched off"),
        ({"do_resize": False, "do_rescale": False}, "do_resize and do_rescale switched off"),
        ({"resample": 0}, "resample bilinearly or bicubically"),
        ({"rescale_factor": 1 / 127.5}, "scale by 1/255"),
        ({"image_mean": None}, "have a mean and a std"),
        ({"size": {"height": 224, "width": 196}}, "square images of one size"),
    ],
)
def test_what_is_done_otherwise_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        as_preprocessing({**SIGLIP, **change}, "hf:a")
