"""Inputs of timm models: every pretrained configuration against timm's own transform, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform

from harness import backbones
from harness.backbones.sources.timm_inputs import as_preprocessing, data_config
from methods.errors import UserError

#: Largest input side of the configurations that are all compared, in pixels.
LARGEST = 400


@pytest.fixture(scope="module")
def configurations() -> dict[str, tuple[dict, list[str]]]:
    """Return distinct data configurations up to 400 px, each with the names of the weights that have it."""
    distinct: dict[str, tuple[dict, list[str]]] = {}
    for name in timm.list_pretrained():
        config = data_config(timm.get_pretrained_cfg(name).to_dict(), name)
        if max(config["input_size"][1:]) <= LARGEST:
            distinct.setdefault(repr(sorted(config.items())), (config, []))[1].append(name)
    return distinct


def test_every_configuration_up_to_400_px_gives_timms_tensor(configurations):
    """The check inside compares three framed images; here a fourth one must be equal to the bit."""
    pixels = torch.randint(0, 256, (173, 290, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    image = Image.fromarray(pixels.numpy())
    refused = []
    for config, names in configurations.values():
        try:
            preprocessing = as_preprocessing(config, names[0])
        except UserError:
            refused += names
            continue
        assert torch.equal(preprocessing.center(image), create_transform(**config, is_training=False)(image)), names
    assert len(configurations) > 100 and sum(len(names) for _, names in configurations.values()) > 1500
    assert refused == []
    assert sum(config["crop_mode"] != "center" for config, _ in configurations.values()) > 15


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base_patch16_sapiens2.fb", "takes 3 x 1024 x 768 inputs: only square RGB"),
        ("volo_d4_448.sail_in1k", "crop_pct of 1.15, which pads images with black"),
    ],
)
def test_larger_configurations_that_cannot_be_expressed_are_refused(name, reason):
    with pytest.raises(UserError, match=reason):
        as_preprocessing(data_config(timm.get_pretrained_cfg(name).to_dict(), name), name)


def test_squash_with_a_margin_keeps_the_frame_where_timm_keeps_it():
    """The frame of a 400 x 300 px picture: dm_nfnet_f0 resizes it to 213 x 213 px and crops 192 px."""
    image = Image.new("RGB", (400, 300), (255, 0, 0))
    image.paste((128, 128, 128), (20, 15, 380, 285))
    config = data_config(timm.get_pretrained_cfg("dm_nfnet_f0").to_dict(), "dm_nfnet_f0")
    preprocessing = as_preprocessing(config, "dm_nfnet_f0")
    tensor = preprocessing.center(image)
    assert torch.equal(tensor, create_transform(**config, is_training=False)(image))
    assert (preprocessing.size, preprocessing.resize, preprocessing.fit) == (192, 213, "squash_crop")
    # 10.65 px of frame minus 10 or 11 px of margin: less than a pixel is left.
    red = tensor[0] - tensor[0, 96, 96] > 0.1
    assert not red[2:-2, 2:-2].any()


def test_a_loaded_model_carries_the_checked_preprocessing():
    loaded = backbones.load("timm:test_vit", weights=False).preprocessing
    assert (loaded.size, loaded.resize, loaded.fit, loaded.mean) == (160, 168, "crop", (0.5,) * 3)


def test_supported_configurations_keep_their_identity():
    """Values of an earlier version, which pin the identities of stored cells."""
    expected = {
        "vit_base_patch16_224.augreg_in21k_ft_in1k": (224, 248, "bicubic", [0.5] * 3, [0.5] * 3, "crop"),
        "vit_small_patch14_dinov2": (224, 256, "bicubic", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "crop"),
        "maxvit_base_tf_384.in1k": (384, 384, "bicubic", [0.5] * 3, [0.5] * 3, "squash"),
    }
    keys = ("size", "resize", "interpolation", "mean", "std", "fit")
    for name, values in expected.items():
        config = data_config(timm.get_pretrained_cfg(name).to_dict(), name)
        assert as_preprocessing(config, name).canonical() == dict(zip(keys, values, strict=True))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_size": (1, 64, 64)}, "takes 1 x 64 x 64 inputs"),
        ({"crop_mode": "other"}, "crops by 'other'"),
        ({"interpolation": "random"}, "interpolation 'random' is not supported"),
        ({"mean": (0.5,)}, "mean and std need three values"),
    ],
)
def test_other_values_are_refused(change, reason):
    config = data_config({"input_size": (3, 64, 64), "interpolation": "bicubic", "crop_pct": 0.9}, "x")
    with pytest.raises(UserError, match=reason):
        as_preprocessing({**config, **change}, "x")


@pytest.mark.parametrize("interpolation", ["nearest", "box", "hamming", "lanczos"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_every_filter_and_mode_is_timms(interpolation, crop_mode):
    record = {"input_size": (3, 40, 40), "interpolation": interpolation, "crop_pct": 0.83, "crop_mode": crop_mode}
    as_preprocessing(data_config(record, "x"), "x")
