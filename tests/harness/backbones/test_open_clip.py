"""Image and text towers of open_clip, on tiny models of its kinds with random weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness import backbones
from harness.activations.sites import open_site
from harness.backbones.base import Backbone
from harness.backbones.preprocessing_check import framed_test_images
from harness.backbones.sources.base import Request
from harness.backbones.sources.open_clip import default_site
from harness.backbones.sources.open_clip_record import preprocessing_of, record_of
from harness.doctor.needs import _weights
from harness.listing import listing
from harness.suites.schema import Target
from methods.errors import UserError

open_clip = pytest.importorskip("open_clip", reason="needs the extra: pip install 'disentanglement-harness[clip]'")

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 64}
TIMM = {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
POOLED = {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "Tiny-ViT": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "Tiny-ViT-quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "Tiny-ResNet": {"embed_dim": 24, "vision_cfg": RESNET, "text_cfg": TEXT},
    "Tiny-SigLIP": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": TIMM,
        "text_cfg": {**TEXT, "hf_tokenizer_name": "nobody/tokenizer"},
    },
    "Tiny-CoCa": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": POOLED,
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
    },
    "Tiny-wide": {"embed_dim": 24, "vision_cfg": {**VIT, "image_size": [32, 40]}, "text_cfg": TEXT},
    "Tiny-hub-text": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": {"hf_model_name": "nobody/encoder"}},
}
#: Tags of Tiny-ViT: a SigLIP-like preprocessing, another one, one with padding, and one trained with QuickGELU.
TAGS = {
    "squashed": {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "resize_mode": "squash"},
    "shortest": {"interpolation": "bicubic", "resize_mode": "shortest"},
    "padded": {"resize_mode": "longest"},
    "quick": {"quick_gelu": True},
    "random_filter": {"interpolation": "random"},
}
TEXTS = ["a photo of a cat.", "a photo of a dog.", "nothing"]


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Register the tiny architectures, and tags whose weights are nowhere."""
    from open_clip import factory, pretrained

    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    pretrained._PRETRAINED["Tiny-ViT"] = {
        tag: {"hf_hub": f"nobody/{tag}/", "url": "", **settings} for tag, settings in TAGS.items()
    }
    yield
    del pretrained._PRETRAINED["Tiny-ViT"]
    factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in CONFIGS:
        factory._MODEL_CONFIGS.pop(name, None)


@pytest.fixture(scope="module")
def reference(architectures: None) -> dict[str, Any]:
    """Models that open_clip itself makes, with other random weights than the source draws."""
    torch.manual_seed(3)
    names = ("Tiny-ViT", "Tiny-ResNet", "Tiny-SigLIP", "Tiny-CoCa")
    # torch chooses its attention kernel by requires_grad, also under no_grad; those of the backbone have it off.
    models = {name: open_clip.create_model(name).eval().requires_grad_(False) for name in names}
    for name, parameter in models["Tiny-ResNet"].visual.named_parameters():
        if name.endswith("bn3.weight"):  # fresh ones are 0, so that no residual branch has an effect
            torch.nn.init.ones_(parameter)
    # open_clip leaves this parameter uninitialised, so it may hold NaN.
    torch.nn.init.normal_(models["Tiny-CoCa"].text_decoder.text_projection)
    return models


def saved(model: Any, folder: Path, **changed: Tensor) -> Path:
    file = folder / "weights.safetensors"
    save_file({**{name: tensor.contiguous() for name, tensor in model.state_dict().items()}, **changed}, file)
    return file


@pytest.fixture(scope="module")
def loaded(reference: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    """Backbones of the reference models' weights."""
    return {
        name: backbones.load(f"open_clip:{name}", checkpoint=saved(model, tmp_path_factory.mktemp("weights")))
        for name, model in reference.items()
    }


def images(backbone: Backbone, n: int = 3) -> Tensor:
    side = backbone.preprocessing.size
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["Tiny-ViT", "Tiny-ResNet", "Tiny-SigLIP", "Tiny-CoCa"])
def test_features_are_the_image_embedding_of_open_clip(
    name: str, loaded: dict[str, Backbone], reference: dict[str, Any]
) -> None:
    backbone = loaded[name]
    with torch.no_grad():
        expected = reference[name].encode_image(images(backbone), normalize=False)
        assert torch.equal(backbone.features(images(backbone)), expected)
    assert set(backbone.model.state_dict()) == {
        key.removeprefix("visual.") for key in reference[name].state_dict() if key.startswith("visual.")
    }


@pytest.mark.parametrize(
    "name, site, prefix, shape",
    [
        ("Tiny-ViT", "transformer.resblocks.1.mlp.c_proj", 1, (2, 17, 32)),
        ("Tiny-ResNet", "layer4.0.conv3", 0, (2, 256, 2, 2)),
        ("Tiny-SigLIP", "trunk.blocks.8.mlp.fc2", 1, (2, 101, 96)),
        ("Tiny-CoCa", "transformer.resblocks.1.mlp.c_proj", 1, (2, 17, 32)),
    ],
)
def test_the_default_site_holds_tokens_that_the_features_depend_on(
    name: str, site: str, prefix: int, shape: tuple[int, ...], loaded: dict[str, Backbone]
) -> None:
    backbone = loaded[name]
    open_site(backbone, site)
    assert (backbone.default_site, backbone.n_prefix_tokens) == (site, prefix)
    outputs = []

    def replace(module: Any, inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output + 1000 * torch.randn(output.shape, generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        before = backbone.features(images(backbone, 2))
        handle = backbone.model.get_submodule(site).register_forward_hook(replace)
        after = backbone.features(images(backbone, 2))
        handle.remove()
    assert outputs[0].shape == shape
    assert not torch.allclose(before, after, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "name, site",
    [
        ("ViT-S-32", "transformer.resblocks.11.mlp.c_proj"),
        ("MobileCLIP-S1", "trunk.stages.3.blocks.3.mlp.fc2"),  # a 1x1 convolution, before a squeeze-and-excitation
        ("ViTamin-S", "trunk.blocks.13.mlp.w2"),
        ("convnext_tiny", "trunk.stages.3.blocks.2.mlp.fc2"),
        ("ViT-B-16-SigLIP", "trunk.blocks.11.mlp.fc2"),  # not that of the attention pool
        ("RN50", "layer4.2.conv3"),
    ],
)
def test_the_default_site_is_in_the_last_block(name: str, site: str) -> None:
    from open_clip.model import _build_vision_tower

    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        visual = _build_vision_tower(config["embed_dim"], {**config["vision_cfg"], "timm_model_pretrained": False})
    assert default_site(visual) == site


@pytest.mark.parametrize("name", ["Tiny-ViT", "Tiny-CoCa"])
def test_zero_shot_logits_are_those_of_open_clip(
    name: str, loaded: dict[str, Backbone], reference: dict[str, Any]
) -> None:
    backbone, model = loaded[name], reference[name]
    assert backbone.text_tower is not None
    tower = backbone.text_tower()
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    with torch.no_grad():
        assert torch.equal(tower.embed(TEXTS), model.encode_text(tokens, normalize=False))
        image = torch.nn.functional.normalize(tower.project(backbone.features(images(backbone))), dim=-1)
        text = torch.nn.functional.normalize(tower.embed(TEXTS), dim=-1)
        pictures, texts, scale = (model(images(backbone), tokens)[key] for key in _keys(name))
    assert torch.allclose(tower.scale * image @ text.T + tower.bias, scale * pictures @ texts.T, atol=1e-5)
    assert (tower.bias, tower.template) == (0.0, "a photo of a {}.")
    assert torch.allclose(tower.embed(TEXTS * 100)[-3:], tower.embed(TEXTS), atol=1e-5)  # two batches
    assert tower.tokenize is not None and tower.length == tokens.shape[1]
    for ids, row in zip(tower.tokenize(TEXTS), tokens.tolist(), strict=True):
        assert row == [*ids, *[0] * (len(row) - len(ids))]
    assert not any(key.startswith(("visual", "text_decoder")) for key in tower.weights)
    assert {"logit_scale", *(key for key in tower.weights if "positional_embedding" in key)} <= set(tower.weights)


def _keys(name: str) -> tuple[Any, ...]:
    return ("image_features", "text_features", "logit_scale") if name == "Tiny-CoCa" else (0, 1, 2)


def test_a_siglip_model_has_its_bias_and_template(
    loaded: dict[str, Backbone], reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = loaded["Tiny-SigLIP"].text_tower
    assert tower is not None
    with pytest.raises(UserError, match=r"tokenizer 'nobody/tokenizer' of 'open_clip:Tiny-SigLIP' is not on this"):
        tower()
    monkeypatch.setattr("open_clip.get_tokenizer", lambda name: open_clip.SimpleTokenizer(context_length=16))
    text, model = tower(), reference["Tiny-SigLIP"]
    assert (text.bias, text.template) == (-10.0, "This is a photo of {}.")
    assert text.scale == pytest.approx(float(model.logit_scale.detach().exp()))
    before = text.fingerprint()
    with torch.no_grad():
        assert torch.equal(text.embed(TEXTS), model.encode_text(open_clip.SimpleTokenizer(context_length=16)(TEXTS)))
        text.weights["text.token_embedding.weight"][0] += 1
    assert text.fingerprint() != before


def test_random_weights_are_seeded_and_leave_the_generator_and_the_root_logger_alone() -> None:
    state, handlers = torch.get_rng_state(), list(logging.root.handlers)
    first, second = (backbones.load("open_clip:Tiny-ViT", weights=False) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state) and logging.root.handlers == handlers
    assert first.fingerprint() == second.fingerprint()
    assert (first.pretrained, first.source) == (False, "random weights") and not first.notes


@pytest.mark.parametrize("tag", ["squashed", "shortest", "random_filter"])
def test_the_preprocessing_is_that_of_open_clip(tag: str) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    record = record_of(Request("open_clip:x", f"Tiny-ViT/{tag}"))
    preprocessing = preprocessing_of(record, "open_clip:x")
    transform = image_transform_v2(PreprocessCfg(size=32, **TAGS[tag]), is_train=False)
    for image in framed_test_images():
        assert torch.allclose(preprocessing.center(image), transform(image), rtol=0, atol=1e-5)


def test_every_tag_of_open_clip_has_a_preprocessing_of_ours() -> None:
    seen = set()
    for name, tag in open_clip.list_pretrained():
        if name not in CONFIGS:
            record = record_of(Request("open_clip:x", f"{name}/{tag}"))
            size = record.config["vision_cfg"].get("image_size")
            settings = (size, *record.input.values())
            if settings not in seen and size <= 256:
                preprocessing_of(record, f"open_clip:{name}/{tag}")
            seen.add(settings)
    assert len(seen) > 10


def test_weights_trained_with_quick_gelu_get_it() -> None:
    named = backbones.load("open_clip:Tiny-ViT-quickgelu", weights=False)
    tagged = backbones.load("open_clip:Tiny-ViT/quick", weights=False)
    plain = backbones.load("open_clip:Tiny-ViT", weights=False)
    assert named.fingerprint() == tagged.fingerprint() == plain.fingerprint()
    assert torch.equal(named.features(images(named)), tagged.features(images(named)))
    assert not torch.equal(named.features(images(named)), plain.features(images(named)))
    assert named.identity() == tagged.identity() != plain.identity()
    assert "trained with QuickGELU" in tagged.notes[0]


@pytest.mark.parametrize(
    "spec, sentence",
    [
        ("open_clip:tiny-vit/squashed", r"no architecture 'tiny-vit'\. Did you mean Tiny-ViT"),
        ("open_clip:ViT-B/32", r"no architecture 'ViT-B'\. Did you mean ViT-B-32"),
        ("open_clip:hf-hub:a/b", r"no architecture 'hf-hub:a'"),
        ("open_clip:Tiny-ViT/squash", r"no weights 'squash' for Tiny-ViT\. Did you mean squashed.*It has squashed, "),
        ("open_clip:Tiny-ResNet/openai", r"no weights 'openai' for Tiny-ResNet\. There are none for this"),
        ("open_clip:Tiny-ViT/", r"no weights '' for Tiny-ViT"),
        ("open_clip:Tiny-ViT", r"names no weights: write open_clip:Tiny-ViT/TAG.*It has squashed, "),
        ("open_clip:Tiny-ViT/squashed", r"could not be downloaded; give a local file"),
    ],
)
def test_wrong_names_and_failed_downloads_are_explained(
    spec: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.backbones.sources.hub._resolves", lambda host: False)
    with pytest.raises(UserError, match=sentence):
        backbones.load(spec)


@pytest.mark.parametrize(
    "spec, sentence",
    [
        ("open_clip:Tiny-ViT/padded", r"pads the rest \(resize_mode 'longest'\)"),
        ("open_clip:Tiny-wide", r"32 x 40 px inputs: only square"),
        ("open_clip:Tiny-hub-text", r"needs the configuration of 'nobody/encoder' from the Hugging Face hub"),
    ],
)
def test_unsupported_inputs_and_files_are_refused(spec: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.backbones.sources.hub._resolves", lambda host: False)
    with pytest.raises(UserError, match=sentence):
        backbones.load(spec, weights=False)


def test_a_checkpoint_without_a_record_is_read_with_a_note(loaded: dict[str, Backbone]) -> None:
    (note,) = loaded["Tiny-ViT"].notes
    assert "preprocessing of open_clip:Tiny-ViT/squashed and the GELU of Tiny-ViT are assumed" in note
    assert "preprocessing of OpenAI's CLIP" in loaded["Tiny-ResNet"].notes[0]
    assert loaded["Tiny-ViT"].source == "local checkpoint" and loaded["Tiny-ViT"].pretrained


def test_the_configuration_beside_a_checkpoint_is_used(reference: dict[str, Any], tmp_path: Path) -> None:
    file = saved(reference["Tiny-ViT"], tmp_path)
    config = {**CONFIGS["Tiny-ViT-quickgelu"]}
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "resize_mode": "shortest", "size": 32}
    beside = tmp_path / "open_clip_config.json"
    beside.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": settings}))
    backbone = backbones.load("open_clip:Tiny-ViT", checkpoint=file)
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3) and backbone.preprocessing.fit == "crop"
    assert backbone.reading["open_clip"]["quick_gelu"] and not backbone.notes
    with pytest.raises(UserError, match=r"describes other weights than 'open_clip:Tiny-ViT/squashed': mean, .*quick"):
        backbones.load("open_clip:Tiny-ViT/squashed", checkpoint=file)
    beside.write_text(json.dumps({"model_cfg": {**config, "vision_cfg": {**VIT, "head_width": 8}}}))
    with pytest.raises(UserError, match=r"is not that of Tiny-ViT: vision_cfg\.head_width differ"):
        backbones.load("open_clip:Tiny-ViT", checkpoint=file)
    beside.write_text("[]")
    with pytest.raises(UserError, match=r"cannot be read as a configuration of open_clip"):
        backbones.load("open_clip:Tiny-ViT", checkpoint=file)


def test_checkpoints_of_training_scripts_and_of_other_models(
    loaded: dict[str, Backbone], reference: dict[str, Any], tmp_path: Path
) -> None:
    state = reference["Tiny-ViT"].state_dict()
    nested = {"epoch": 3, "state_dict": {f"module._orig_mod.{name}": tensor.half() for name, tensor in state.items()}}
    torch.save(nested, tmp_path / "epoch_3.pt")
    halved = backbones.load("open_clip:Tiny-ViT/shortest", checkpoint=tmp_path / "epoch_3.pt")
    assert halved.preprocessing.fit == "crop" and not halved.notes
    assert all(parameter.dtype == torch.float32 for parameter in halved.model.parameters())
    kept = loaded["Tiny-ViT"].model.state_dict()
    assert all(torch.equal(tensor, kept[name].half().float()) for name, tensor in halved.model.state_dict().items())
    # Tensors of another input size or another architecture are refused, by name.
    other = saved(reference["Tiny-ViT"], tmp_path, **{"visual.positional_embedding": torch.zeros(26, 32)})
    with pytest.raises(UserError, match=r"of another shape \(visual\.positional_embedding \(26, 32\) for \(17, 32\)"):
        backbones.load("open_clip:Tiny-ViT", checkpoint=other)
    with pytest.raises(UserError, match=r"does not fit Tiny-ResNet: parameters \d+ missing"):
        backbones.load("open_clip:Tiny-ResNet", checkpoint=other)


def test_weights_of_a_tag_are_read_from_the_downloaded_file(
    loaded: dict[str, Backbone], reference: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {"input_resolution": torch.tensor(32), "logit_scale": torch.ones(1)}
    file = saved(reference["Tiny-ViT"], tmp_path, **stated)
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", lambda config: str(file))
    backbone = backbones.load("open_clip:Tiny-ViT/squashed")
    assert backbone.fingerprint() == loaded["Tiny-ViT"].fingerprint()
    assert backbone.license == "see the card of nobody/squashed" and backbone.source.startswith("open_clip 3")
    assert backbone.name == "open_clip:Tiny-ViT/squashed" and not backbone.notes


def test_the_doctor_and_the_list_know_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any(row["name"] == "open_clip:..." for row in listing("backbones"))
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: False)
    target = Target(backbone="open_clip:ViT-B-32/openai")
    assert "cannot be reached" in (_weights(target) or ("", ""))[0]
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repository, file: asked.append((repository, file)) or "here"
    )
    assert _weights(target) is None
    assert asked == [("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors")]
    monkeypatch.setattr("harness.doctor.needs._has", lambda package: package != "open_clip")
    state, remedy = _weights(target) or ("", "")
    assert "open_clip_torch is not installed" in state and 'pip install "disentanglement-harness[clip]"' in remedy
