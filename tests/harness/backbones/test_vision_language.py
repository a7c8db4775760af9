"""``vlm:`` backbones: the tower of a tiny LLaVA-OneVision, read as the whole model reads it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness import backbones
from harness.activations.sites import open_site
from harness.backbones.preprocessing_check import framed_test_images
from harness.backbones.sources.vision_language import tower_path
from harness.doctor import needs
from harness.errors import UserError
from harness.suites import parse_suite

transformers = pytest.importorskip("transformers", reason="vlm: backbones need the package transformers")
pytestmark = [pytest.mark.run, pytest.mark.usefixtures("no_network")]

HUB = "vlm:llava-hf/llava-onevision-qwen2-0.5b-ov-hf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_llava

    return tiny_llava.write(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "changed"))


def whole(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()


def test_features_and_tokens_are_those_of_the_tower_in_the_whole_model(folder: Path) -> None:
    backbone = backbones.load(f"vlm:{folder}")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    tower = whole(folder).model.vision_tower
    with torch.inference_mode():
        output = tower(x, output_hidden_states=True)
    assert torch.equal(backbone.features(x), output.last_hidden_state.mean(1))
    block = open_site(backbone, "encoder.layers.2")
    assert torch.equal(block.capture(backbone.features, x).a, output.hidden_states[-1]), "what the projector reads"
    linear = open_site(backbone, "encoder.layers.1.mlp.fc2")
    assert (linear.kind, linear.d_in, linear.d_out) == ("linear", 40, 24)
    captured = linear.capture(backbone.features, x)
    torch.testing.assert_close(captured.a, captured.q @ linear.weight.T + linear.bias)
    assert linear.positions(16).tolist() == list(range(16))


def test_it_is_described_without_paths_of_this_machine(folder: Path) -> None:
    backbone = backbones.load(f"vlm:{folder}")
    assert (backbone.name, backbone.title) == ("vlm:tiny", "vision tower of tiny")
    assert (backbone.source, backbone.license) == ("local checkpoint", "that of the checkpoint")
    assert (backbone.default_site, backbone.n_prefix_tokens) == ("encoder.layers.2.mlp.fc2", 0)
    assert backbones.name_of(f"vlm:{folder}") == "vlm:tiny" and backbones.name_of(HUB) == HUB
    # Another way to name the same files, and the identity of the same tower under its own name.
    assert backbones.load(HUB, checkpoint=folder).identity() == backbone.identity()
    assert backbones.load(HUB, checkpoint=folder).name == HUB
    assert sum(p.numel() for p in backbone.model.parameters()) < sum(p.numel() for p in whole(folder).parameters()) / 2


def test_the_input_is_the_whole_view_of_the_models_processor(folder: Path) -> None:
    preprocessing = backbones.load(f"vlm:{folder}").preprocessing
    assert (preprocessing.size, preprocessing.fit, preprocessing.interpolation) == (32, "squash", "bicubic")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    for image in framed_test_images():
        views = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0])
        assert len(views) > 1 and torch.allclose(preprocessing.center(image), views[0], atol=1e-4)


def test_random_weights_are_those_of_a_seed(folder: Path) -> None:
    state = torch.get_rng_state()
    drawn = backbones.load(f"vlm:{folder}", weights=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert (drawn.source, drawn.pretrained) == ("random weights", False)
    assert drawn.fingerprint() == backbones.load(f"vlm:{folder}", weights=False).fingerprint()
    assert drawn.fingerprint() != backbones.load(f"vlm:{folder}").fingerprint()


def refused(spec: str | Path, sentence: str, **options: Any) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        backbones.load(str(spec) if str(spec).startswith("vlm:") else f"vlm:{spec}", **options)
    assert "\n" not in str(caught.value)


def edit(folder: Path, part: str, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part] |= changes
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder: Path, left_out: str, factor: float = 1.0) -> None:
    state = load_file(folder / "model.safetensors")
    kept: dict[str, Tensor] = {name: tensor * factor for name, tensor in state.items() if left_out not in name}
    assert len(kept) < len(state) or factor != 1
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def test_layers_missing_from_the_configuration_or_the_weights_are_refused(copy: Path) -> None:
    edit(copy, "vision_config", num_hidden_layers=2)
    refused(copy, r"do not fit its config.json: 16 parameters .* \(encoder.layers.2")
    edit(copy, "vision_config", num_hidden_layers=4)
    refused(copy, "'vlm:changed' are incomplete: 16 parameters missing")


def test_incomplete_and_infinite_weights_are_refused(copy: Path) -> None:
    change_weights(copy, "no such name", factor=torch.inf)
    refused(copy, "holds NaN or infinite values")


@pytest.mark.parametrize("name", ["layers.1.mlp.fc2.bias", "multi_modal_projector.linear_1.weight"])
def test_a_missing_weight_is_refused(copy: Path, name: str) -> None:
    change_weights(copy, name)
    refused(copy, f"are incomplete: .*{name}")


def test_a_pooler_beside_the_tower_is_left_out(copy: Path) -> None:
    """Published towers hold a pooling head that the configuration switches off."""
    state = load_file(copy / "model.safetensors")
    save_file({**state, "vision_tower.vision_model.head.probe": torch.ones(1, 1, 24)}, copy / "model.safetensors")
    assert not hasattr(backbones.load(f"vlm:{copy}").model, "head")


def test_other_models_are_refused(tmp_path: Path, folder: Path) -> None:
    vit = transformers.ViTModel(
        transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    vit.save_pretrained(tmp_path / "vit")
    refused(tmp_path / "vit", "'vlm:vit' is a vit model, .* or hf:NAME for an image encoder")
    refused(tmp_path / "missing", "There is no folder .* Give vlm:OWNER/NAME or vlm:PATH of a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"The folder 'empty' cannot be read as a transformers model: it needs .*tokenizer.json")
    refused("vlm:nobody/has-this-model", "could not be downloaded; give a local folder: --checkpoint FOLDER")
    (tmp_path / "weights.pth").write_bytes(b"")
    refused("vlm:x/y", "takes a folder as checkpoint .* 'weights.pth' is a file", checkpoint=tmp_path / "weights.pth")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    refused(copy, "The folder 'changed' cannot be read")


@pytest.mark.parametrize("weights", [True, False])
def test_code_of_a_repository_is_not_run(copy: Path, tmp_path: Path, weights: bool) -> None:
    config = json.loads((copy / "config.json").read_text())
    auto_map = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"}
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "of_its_own", "auto_map": auto_map}))
    (copy / "code.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Config: pass\n")
    refused(copy, "custom code", weights=weights)
    assert not (tmp_path / "run").exists()


class Patches(nn.Module):
    def forward(self, hidden_states: Tensor, grid_thw: Tensor) -> Tensor:
        return hidden_states


def test_towers_that_take_no_images_are_refused() -> None:
    model = nn.Module()
    with pytest.raises(UserError, match=r"'vlm:x' \(Module\) has no vision tower: none of its modules is named"):
        tower_path(model, "vlm:x")
    model.add_module("visual", Patches())
    with pytest.raises(UserError, match=r"'visual' of 'vlm:x' \(Patches\) takes no images of one size"):
        tower_path(model, "vlm:x")


def test_without_transformers_the_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(folder, "'vlm:tiny' needs the package transformers, .*extra 'hf'")


def test_the_doctor_finds_folders(folder: Path, tmp_path: Path) -> None:
    def state_of(backbone: str) -> Any:
        values = {"name": "x", "targets": [{"backbone": backbone}], "methods": [{"name": "identity"}]}
        return needs._weights(parse_suite(values).targets[0])

    assert state_of(f"vlm:{folder}") is None
    assert "there is no folder" in state_of(f"vlm:{tmp_path / 'missing'}")[0]
    assert "cannot be reached" in state_of("vlm:nobody/has-this-model")[0]
