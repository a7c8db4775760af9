"""Tiny random models of many transformers families: features, tokens and inputs are those of the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from harness import backbones
from harness.activations.sites import open_site
from harness.backbones.preprocessing import _FITS
from harness.backbones.preprocessing_check import framed_test_images
from methods.errors import UserError

transformers = pytest.importorskip("transformers", reason="hf: backbones need the package transformers")
pytestmark = [pytest.mark.run, pytest.mark.usefixtures("no_network")]

WIDTH: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
VIT: dict[str, Any] = {**WIDTH, "image_size": 32, "patch_size": 8}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
WINDOWS: dict[str, Any] = {
    "image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4,
}  # fmt: skip


class Family(NamedTuple):
    """Family of models: its construction and its expected features."""

    model: str
    config: dict[str, Any]
    features: str
    """"pooler", "cls" or "mean", by the rule: the model's own pooled output, else CLS, else the mean of the patches"""
    prefix: int
    size: int = 32
    kwargs: dict[str, Any] = {}


FAMILIES = {
    "vit": Family("ViT", VIT, "pooler", 1),
    "vit_without_pooler": Family("ViT", VIT, "cls", 1, kwargs={"add_pooling_layer": False}),
    "vit_msn": Family("ViTMSN", VIT, "cls", 1),
    "deit": Family("DeiT", VIT, "pooler", 2),
    "beit": Family("Beit", VIT, "pooler", 1),
    "data2vec": Family("Data2VecVision", VIT, "cls", 1),
    "dinov2": Family("Dinov2", VIT, "pooler", 1),
    "dinov2_with_registers": Family("Dinov2WithRegisters", VIT, "pooler", 5),
    "dinov3_vit": Family("DINOv3ViT", {**VIT, "num_register_tokens": 2}, "pooler", 3),
    "ijepa": Family("IJepa", VIT, "mean", 0),
    "swin": Family("Swin", WINDOWS, "pooler", 0, 64),
    "swinv2": Family("Swinv2", WINDOWS, "pooler", 0, 64),
    "convnext": Family("ConvNext", STAGES, "pooler", 0, 64),
    "convnextv2": Family("ConvNextV2", STAGES, "pooler", 0, 64),
    "resnet": Family("ResNet", {**STAGES, "embedding_size": 8}, "pooler", 0, 64),
    "mobilenet_v2": Family("MobileNetV2", {"image_size": 64, "depth_multiplier": 0.35}, "pooler", 0, 64),
    "focalnet": Family(
        "FocalNet",
        {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3],
         "hidden_sizes": [16, 32]},
        "pooler", 0,
    ),
    "poolformer": Family("PoolFormer", STAGES, "mean", 0, 64),
    "pvt_v2": Family("PvtV2", {**STAGES, "image_size": 64, "num_attention_heads": [1, 1, 2, 2]}, "mean", 0, 64),
    "segformer": Family("Segformer", {**STAGES, "num_attention_heads": [1, 1, 2, 2]}, "mean", 0, 64),
    "hiera": Family(
        "Hiera", {"embed_dim": 16, "image_size": [64, 64], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
        "pooler", 0, 64,
    ),
    "levit": Family(
        "Levit",
        {"image_size": 64, "hidden_sizes": [16, 32, 32], "num_attention_heads": [1, 2, 2], "depths": [1, 1, 1],
         "key_dim": [8, 8, 8]},
        "pooler", 0, 64,
    ),
    "aimv2": Family("Aimv2Vision", VIT, "pooler", 0),
    "metaclip_2": Family("MetaClip2Vision", VIT, "pooler", 1),
}  # fmt: skip


def build(family: Family, **changes: Any) -> nn.Module:
    """A model with all parameters drawn, so that no two ways to pool it agree by accident."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family.model}Config")(**{**family.config, **changes})
        model = getattr(transformers, f"{family.model}Model")(config, **family.kwargs)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def save(model: nn.Module, folder: Path, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def squash(size: int) -> Any:
    return transformers.ViTImageProcessor(size={"height": size, "width": size})


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def expected_features(model: nn.Module, x: Tensor, kind: str) -> Tensor:
    output = model(pixel_values=x)
    if kind == "pooler":
        return output.pooler_output.reshape(len(x), -1)
    hidden = output.last_hidden_state
    if kind == "cls":
        return hidden[:, 0]
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_and_tokens_of_a_family(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = build(family)
    folder = save(model, tmp_path / name, squash(family.size))
    backbone = backbones.load(f"hf:{folder}")
    x = images(family.size)
    assert torch.equal(backbone.features(x), expected_features(model, x, family.features))
    assert backbone.n_prefix_tokens == family.prefix
    assert (backbone.name, backbone.source) == (f"hf:{name}", "local checkpoint")
    assert backbone.fingerprint() == backbones.load("hf:any", checkpoint=folder).fingerprint()
    if backbone.default_site is not None:
        site = open_site(backbone, backbone.default_site)
        site.locate(backbone)
        n_tokens = site.capture(backbone.features, x).a.shape[1]
        assert int((site.positions(n_tokens) < 0).sum()) == family.prefix


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("vit", {"pooling": "pooler_output"}),
        ("vit_without_pooler", {}),
        ("dinov2", {}),
        ("convnext", {}),
        ("swin", {"pooling": "pooler_output"}),
        ("ijepa", {"pooling": "mean_of_patches"}),
    ],
)
def test_identities_change_only_where_the_reading_changed(name: str, reading: dict[str, Any], tmp_path: Path) -> None:
    backbone = backbones.load(f"hf:{save(build(FAMILIES[name]), tmp_path / name, squash(FAMILIES[name].size))}")
    identity = backbone.identity()
    assert identity.keys() == {"weights", "preprocessing", *reading} and reading.items() <= identity.items()


def test_vitmae_sees_all_patches_in_order(tmp_path: Path) -> None:
    """Its encoder without masking is a ViT without pooler: the same weights in that class are the reference."""
    small = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mae = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**VIT, **small, decoder_intermediate_size=32))
    vit = transformers.ViTModel(transformers.ViTConfig(**VIT), add_pooling_layer=False).eval()
    vit.load_state_dict(mae.vit.state_dict())
    backbone = backbones.load(f"hf:{save(mae, tmp_path / 'mae', squash(32))}")
    x = images(32)
    with torch.inference_mode():
        expected = vit(x).last_hidden_state[:, 0]
    torch.testing.assert_close(backbone.features(x), expected)
    assert torch.equal(backbone.features(x), backbone.features(x)) and backbone.n_prefix_tokens == 1
    site = open_site(backbone, str(backbone.default_site))
    assert site.capture(backbone.features, x).a.shape[1] == 17
    assert backbone.identity()["masking"] == "off"


def test_a_pooler_that_only_the_classifier_builds_is_read(tmp_path: Path) -> None:
    config = transformers.Data2VecVisionConfig(**VIT)
    model = transformers.Data2VecVisionForImageClassification(config).eval()
    backbone = backbones.load(f"hf:{save(model, tmp_path / 'data2vec', squash(32))}")
    x = images(32)
    with torch.inference_mode():
        assert torch.equal(backbone.features(x), model.data2vec_vision(x).pooler_output)


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        backbones.load(f"hf:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weights", [True, False])
def test_code_of_a_repository_is_not_run(tmp_path: Path, weights: bool) -> None:
    """transformers has the configuration, but no model for AutoModel: it would ask whether to run the code."""
    folder = save(build(FAMILIES["vit"]), tmp_path / "own", squash(32))
    auto_map = {"AutoModel": "code.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip_text_model", "auto_map": auto_map}))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Model: pass\n")
    with pytest.raises(UserError, match="custom code"):
        backbones.load(f"hf:{folder}", weights=weights)
    assert not (tmp_path / "run").exists()


def test_detection_tokens_after_the_patches_have_no_positions(tmp_path: Path) -> None:
    family = Family("Yolos", {**VIT, "image_size": [32, 32], "num_detection_tokens": 5}, "pooler", 1)
    backbone = backbones.load(f"hf:{save(build(family), tmp_path / 'yolos', squash(32))}")
    with pytest.raises(UserError, match="has 22 tokens per image and n_prefix_tokens is 1"):
        open_site(backbone, str(backbone.default_site)).locate(backbone)


def test_models_without_defined_features_are_refused(tmp_path: Path) -> None:
    pixio = Family("Radio", VIT, "", 0)
    refused(save(build(pixio), tmp_path / "radio", squash(32)), "CLS tokens and no pooled output of its own")
    video = Family("VideoMAE", VIT, "", 0)
    refused(save(build(video), tmp_path / "video", squash(32)), "videomae model, which takes videos, not images")
    other_size = save(build(FAMILIES["vit"]), tmp_path / "other_size", squash(48))
    refused(other_size, r"no model that maps images of 48 px to hidden states .*doesn't match model")


def test_a_tower_that_only_its_whole_model_loads_is_said_so(tmp_path: Path) -> None:
    tower = transformers.BlipVisionModel(transformers.BlipVisionConfig(**VIT))
    refused(save(tower, tmp_path / "blip", squash(32)), "holds a part of a model that transformers cannot load alone")


def test_folders_of_timm_are_referred_to_timm(tmp_path: Path) -> None:
    record = {"tag": "r160_in1k", "input_size": [3, 160, 160], "interpolation": "bicubic", "crop_pct": 0.95,
              "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 1000, "first_conv": "patch_embed.proj",
              "classifier": "head"}  # fmt: skip
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": record})
    )
    refused(tmp_path, "is a model of timm: use timm:test_vit with the weights in this folder, --checkpoint")


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("cls", ["ViTModel", "ViTForImageClassification", "DeiTForImageClassification"])
def test_layers_missing_from_the_configuration_are_refused(cls: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{cls.removesuffix('Model').removesuffix('ForImageClassification')}Config")(**VIT)
    folder = save(getattr(transformers, cls)(config), tmp_path / "model", squash(32))
    backbones.load(f"hf:{folder}")
    edit(folder, num_hidden_layers=1)
    refused(folder, r"do not fit its config.json: \d+ parameters of the checkpoint have no place in the model")
    edit(folder, num_hidden_layers=3)
    refused(folder, "are incomplete")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def test_an_incomplete_pooler_and_nan_weights_are_refused(tmp_path: Path) -> None:
    folder = save(build(FAMILIES["vit"]), tmp_path / "vit", squash(32))
    change_weights(
        folder, lambda state: {name: tensor for name, tensor in state.items() if name != "pooler.dense.bias"}
    )
    refused(folder, r"incomplete: 1 parameters missing or of another shape \(pooler.dense.bias\)")
    folder = save(build(FAMILIES["vit"]), tmp_path / "nan", squash(32))
    change_weights(folder, lambda state: {name: tensor * torch.nan for name, tensor in state.items()})
    refused(folder, "holds NaN or infinite values")


def test_a_path_without_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "There is no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "The folder 'empty' cannot be read as a transformers model")


# --- image processors ----------------------------------------------------------------------------------------------

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "squash": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 35}, "crop_size": {"height": 32, "width": 32}}),
    "bit": ("BitImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "crop_pct": 0.875}),
    "convnext_large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "levit": ("LevitImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
    "poolformer": (
        "PoolFormerImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "crop_pct": 0.9},
    ),
    "mobilevit_rgb": (
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_flip_channel_order": False},
    ),
    "deit": ("DeiTImageProcessor", {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}}),
    "flava": ("FlavaImageProcessor", {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}),
    "dinov3": ("DINOv3ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
}


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes images of any size."""
    return save(build(FAMILIES["resnet"]), tmp_path_factory.mktemp("any_size") / "resnet", squash(64))


@pytest.mark.parametrize("name", PROCESSORS)
def test_inputs_are_the_processors_own(name: str, resnet: Path) -> None:
    if name in ("deit", "flava") and "squash_crop" not in _FITS:
        pytest.skip("Preprocessing has no squash with a margin and no lanczos")
    cls, settings = PROCESSORS[name]
    getattr(transformers, cls)(**settings).save_pretrained(resnet)
    preprocessing = backbones.load(f"hf:{resnet}").preprocessing
    processor = transformers.AutoImageProcessor.from_pretrained(resnet, backend="pil")
    levels = 1.0 if name == "dinov3" else 1e-3  # DINOv3's resizes without rounding to 8 bits
    for image in framed_test_images():
        expected = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0])
        assert (preprocessing.center(image) - expected).abs().max() <= levels / 255 / min(preprocessing.std)


@pytest.mark.parametrize(
    ("cls", "settings", "sentence"),
    [
        (
            "MobileViTImageProcessor",
            {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
            "not supported: do_flip_channel_order",
        ),
        (
            "EfficientNetImageProcessor",
            {"size": {"height": 32, "width": 32}, "rescale_offset": True},
            "not supported: .*rescale_offset",
        ),
        ("EfficientNetImageProcessor", {"size": {"height": 32, "width": 32}}, "not supported: include_top"),
        ("ViTImageProcessor", {"size": {"height": 32, "width": 48}}, "square images of one size"),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 24}, "crop_size": {"height": 32, "width": 32}},
            "square images of one size",
        ),
    ],
)
def test_other_steps_are_refused_and_named(cls: str, settings: dict[str, Any], sentence: str, resnet: Path) -> None:
    getattr(transformers, cls)(**settings).save_pretrained(resnet)
    refused(resnet, sentence)


def test_the_corner_of_the_crop_is_part_of_the_identity(resnet: Path) -> None:
    getattr(transformers, PROCESSORS["clip"][0])(**PROCESSORS["clip"][1]).save_pretrained(resnet)
    assert backbones.load(f"hf:{resnet}").identity()["preprocessing"]["corner"] == "floor"
    squash(32).save_pretrained(resnet)
    assert "corner" not in backbones.load(f"hf:{resnet}").identity()["preprocessing"]
