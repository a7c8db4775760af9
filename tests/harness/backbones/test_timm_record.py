"""Records of timm weights: the tag, the config.json beside a file, and what is assumed without either."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import timm
import torch
from timm.data import ImageNetInfo

from harness import backbones
from harness.backbones.sources.base import Request
from harness.backbones.sources.timm_record import WeightsRecord, record_of
from methods.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")

SYNSETS = list(ImageNetInfo("imagenet-1k").label_names())


@pytest.fixture
def save(tmp_path):
    """Return a function that saves random weights of test_vit, with a config.json beside them."""

    def saved(config: Any = None, classes: int = 1000):
        state = timm.create_model("test_vit", num_classes=classes).state_dict()
        torch.save(state, tmp_path / "x.pth")
        if config is not None:
            (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        return tmp_path / "x.pth"

    return saved


def hub_config(**pretrained: Any) -> dict[str, Any]:
    """Return a config.json as timm's push_to_hf_hub writes it."""
    record = {"tag": "r160_in1k", "input_size": [3, 160, 160], "fixed_input_size": True, "interpolation": "bicubic",
              "crop_pct": 0.95, "crop_mode": "center", "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 1000,
              "pool_size": None, "first_conv": "patch_embed.proj", "classifier": "head"}  # fmt: skip
    return {"architecture": "test_vit", "num_classes": 1000, "num_features": 64, "pretrained_cfg": record | pretrained}


def test_a_tag_states_preprocessing_and_labels(save):
    backbone = backbones.load("timm:test_vit.r160_in1k", checkpoint=save())
    assert backbone.head_labels == "imagenet-1k" and backbone.notes == ()
    assert backbones.load("timm:test_vit.r160_in1k", checkpoint=save(classes=7)).head_labels is None
    assert backbones.load("timm:test_vit.r160_in1k", weights=False).head_labels is None


def test_without_a_tag_the_default_is_assumed_with_a_note(save):
    backbone = backbones.load("timm:test_vit", checkpoint=save())
    assert backbone.head_labels is None and backbone.n_classes == 1000
    assert len(backbone.notes) == 1 and "of timm:test_vit.r160_in1k is assumed" in backbone.notes[0]
    assert "classes are unknown" in backbone.notes[0] and "config.json beside the file" in backbone.notes[0]


@pytest.mark.parametrize("legacy", [False, True])
def test_the_config_beside_a_file_states_them(save, legacy):
    config = hub_config(mean=[0.1, 0.2, 0.3], crop_mode="squash", crop_pct=0.9, interpolation="bilinear")
    if legacy:
        config = {**config.pop("pretrained_cfg"), **config, "global_pool": "token"}
    backbone = backbones.load("timm:test_vit", checkpoint=save(config))
    loaded = backbone.preprocessing
    assert (loaded.mean, loaded.fit, loaded.resize) == ((0.1, 0.2, 0.3), "squash_crop", 177)
    assert loaded.interpolation == "bilinear" and backbone.notes == () and backbone.head_labels == "imagenet-1k"


def test_a_named_tag_states_the_labels_if_the_config_has_none(save):
    backbone = backbones.load("timm:test_vit.r160_in1k", checkpoint=save(hub_config(tag="")))
    assert backbone.head_labels == "imagenet-1k" and backbone.notes == ()


def test_the_config_sets_the_input_size_of_the_architecture(save, tmp_path):
    save(hub_config(input_size=[3, 96, 96]))
    torch.save(timm.create_model("test_vit", img_size=96).state_dict(), tmp_path / "x.pth")
    backbone = backbones.load("timm:test_vit", checkpoint=tmp_path / "x.pth")
    assert backbone.preprocessing.size == 96 and backbone.features(backbone.blank_images(1)).shape == (1, 64)


@pytest.mark.parametrize(
    ("pretrained", "labels"),
    [
        ({}, "imagenet-1k"),
        ({"tag": "augreg_in21k"}, None),
        ({"tag": ""}, None),
        ({"tag": "in1k_ft_birds"}, None),
        ({"tag": "x_in12k_ft_in1k_384"}, "imagenet-1k"),
        ({"label_names": SYNSETS, "tag": ""}, "imagenet-1k"),
        ({"label_names": SYNSETS[::-1]}, None),
        ({"num_classes": 5}, None),
    ],
)
def test_labels_follow_from_tag_and_label_names(pretrained, labels):
    cfg = hub_config(**pretrained)["pretrained_cfg"]
    assert WeightsRecord(cfg, {}).labels == labels
    assert WeightsRecord(cfg, {}, assumed=True).labels is None


def test_model_args_are_those_of_the_file(save, tmp_path):
    config = hub_config(input_size=[3, 96, 96]) | {"model_args": {"img_size": 96, "reg_tokens": 2}}
    save(config)
    torch.save(timm.create_model("test_vit", img_size=96, reg_tokens=2).state_dict(), tmp_path / "x.pth")
    assert backbones.load("timm:test_vit", checkpoint=tmp_path / "x.pth").preprocessing.size == 96
    config["model_args"] = {"no_such_argument": 1}
    with pytest.raises(UserError, match=r"with the settings in the config\.json beside 'x\.pth'"):
        backbones.load("timm:test_vit", checkpoint=save(config))


@pytest.mark.parametrize(
    ("spec", "config", "reason"),
    [
        ("timm:test_vit", hub_config() | {"architecture": "test_resnet"},
         "architecture test_resnet, but 'timm:test_vit' was named: use timm:test_resnet"),
        ("timm:test_vit.r160_in1k", hub_config(tag="other_in1k"), "tag other_in1k instead of r160_in1k"),
        ("timm:test_vit.r160_in1k", hub_config(mean=[0.485, 0.456, 0.406]), "mean .0.485, 0.456, 0.406. instead of"),
        ("timm:test_vit", "{", "cannot be read as a configuration of timm"),
        ("timm:test_vit", hub_config(mean=0.5), "mean and std need|cannot be read as a configuration"),
        ("timm:test_vit", hub_config() | {"pretrained_cfg": 3}, "cannot be read as a configuration of timm"),
        ("timm:test_vit", hub_config(crop_pct="much"), "cannot be read as a configuration of timm"),
        ("timm:test_vit", hub_config(crop_pct=1.2), "crop_pct of 1.2"),
        ("timm:test_vit", hub_config(input_size=[3, 96]), "cannot be read as a configuration of timm"),
        ("timm:test_vit", hub_config(interpolation="random"), "'random' is not supported"),
    ],
)  # fmt: skip
def test_a_config_that_contradicts_or_is_damaged_is_refused(save, spec, config, reason):
    with pytest.raises(UserError, match=reason):
        backbones.load(spec, checkpoint=save(config))


def test_a_config_of_another_library_is_ignored(save):
    backbone = backbones.load("timm:test_vit", checkpoint=save({"model_type": "vit", "architectures": ["ViTModel"]}))
    assert len(backbone.notes) == 1
    for other in (
        "[1]",
        {"architecture": "test_vit", "mean": [0.1] * 3, "lr": 0.1},
        {"architecture": "resnet", "lr": 1},
    ):
        loaded = backbones.load("timm:test_vit", checkpoint=save(other))
        assert loaded.notes == backbone.notes and loaded.preprocessing.mean == (0.5,) * 3


def test_a_dinov2_config_of_another_size_is_followed(tmp_path):
    name = "vit_small_patch14_dinov2"
    record = timm.get_pretrained_cfg(name).to_dict()
    config = {"architecture": name, "pretrained_cfg": {**record, "input_size": [3, 98, 98], "crop_pct": 0.875}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(timm.create_model(name, img_size=98).state_dict(), tmp_path / "x.pth")
    loaded = backbones.load(f"timm:{name}", checkpoint=tmp_path / "x.pth").preprocessing
    assert (loaded.size, loaded.resize) == (98, 112)


def test_which_heads_of_1000_classes_count_as_imagenet():
    """Weights with 1000 classes have a tag that ends with in1k, except two that DINO trained without labels."""
    other = []
    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name)
        labels = record_of(Request(f"timm:{name}", name)).labels
        assert (labels is not None) <= (cfg.num_classes == 1000 and bool(re.search("in1k", name)))
        if cfg.num_classes == 1000 and labels is None:
            other.append(name)
    assert other == ["resmlp_12_224.fb_dino", "resmlp_24_224.fb_dino"]
