"""DINOv2's published linear head, on small made-up weights of the same layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets as hf_datasets
import pytest
import torch
from small_runs import scores, suite_of
from timm.data import ImageNetInfo
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from harness import backbones, datasets
from harness.activations.baseline import make_baseline
from harness.activations.forward import Passes
from harness.activations.heads.dinov2_linear import DINOv2Linear, TokensHead, cls_and_mean
from harness.activations.linear_site import LinearLayerSite
from harness.backbones.base import Backbone
from harness.backbones.final_tokens import timm_final_tokens
from harness.cells.plan import prepare
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.progress import Silent
from harness.run import run

IDS = ImageNetInfo("imagenet-1k").label_names()
WIDTH = 24  # of tiny_vit


@pytest.fixture(scope="module")
def vit() -> Backbone:
    """The tiny ViT under the name of a DINOv2."""
    backbone = backbones.load("tiny_vit")
    tokens = timm_final_tokens(backbone.model)
    return dataclasses.replace(backbone, name="dinov2_vits14", final_tokens=tokens, pretrained=True)


@pytest.fixture(scope="module")
def imagenet_folder(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """The pictures, in folders named like three classes of ImageNet-1k."""
    folder = tmp_path_factory.mktemp("imagenet")
    for part, index in (("blue", 700), ("green", 3), ("red", 41)):
        (folder / IDS[index]).symlink_to(photo_folder / part)
    return folder


@pytest.fixture(scope="module")
def images(imagenet_folder: Path) -> ImageSet:
    return datasets.load(f"folder:{imagenet_folder}")


def published(width: int = WIDTH, **changes: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(1000, 2 * width, generator=generator), torch.randn(1000, generator=generator)
    return {"weight": weight, "bias": bias, **changes}


def save(folder: Path, state: dict[str, Tensor], name: str = "dinov2_vits14_linear_head.pth") -> str:
    torch.save(state, folder / name)
    return str(folder / name)


def kind(backbone: Backbone, images: ImageSet, file: str | None) -> DINOv2Linear:
    return DINOv2Linear(backbone, images, "x", {} if file is None else {"checkpoint": file})


def normed_tokens(model: nn.Module, pixels: Tensor) -> Tensor:
    """The output of the final norm, by a hook in the plain forward pass."""
    outputs: list[Tensor] = []
    handle = model.get_submodule("norm").register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        model(pixels)
    handle.remove()
    return outputs[0]


def test_features_are_cls_and_the_mean_of_the_patches() -> None:
    tokens = torch.arange(12.0).reshape(1, 4, 3)
    assert cls_and_mean(tokens, 1).tolist() == [[0, 1, 2, 6, 7, 8]]
    # Registers are neither.
    assert cls_and_mean(tokens, 2).tolist() == [[0, 1, 2, 7.5, 8.5, 9.5]]


def test_logits_are_those_of_the_formula(vit: Backbone, images: ImageSet, tmp_path: Path) -> None:
    state = published()
    head = kind(vit, images, save(tmp_path, state))
    head.check()
    made = head.make(tmp_path)
    pixels = torch.stack([vit.preprocessing.center(images.open(index)) for index in range(5)])
    tokens = normed_tokens(vit.model, pixels)
    features = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    torch.testing.assert_close(made.logits(made.features(pixels)), features @ state["weight"].T + state["bias"])
    assert made.targets(torch.tensor([0, 1, 2, -1])).tolist() == [3, 41, 700, -1]


def test_registers_are_left_out(images: ImageSet, vit: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=28, patch_size=7, embed_dim=WIDTH, depth=1, num_heads=3, num_classes=0, reg_tokens=4
    )
    with_registers = dataclasses.replace(
        vit, model=model, n_prefix_tokens=5, final_tokens=timm_final_tokens(model), _fingerprint=None
    )
    head = kind(with_registers, images, save(tmp_path, published()))
    head.check()
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    tokens = normed_tokens(model.eval(), pixels)
    assert tokens.shape[1] == 5 + 16
    with torch.no_grad():
        features = head.make(tmp_path).features(pixels)
    torch.testing.assert_close(features, torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1))


def test_the_replaced_layer_changes_both_parts_also_from_stored_states(
    vit: Backbone, images: ImageSet, tmp_path: Path
) -> None:
    head = kind(vit, images, save(tmp_path, published())).make(tmp_path)
    site = LinearLayerSite(vit.model, "blocks.2.mlp.fc2", n_prefix_tokens=1)
    measured = make_baseline(vit, site, images, head, tmp_path, top_images=4, head_identity="h", batch_size=7)
    assert measured.passes.states is not None
    pixels = torch.stack([vit.preprocessing.center(images.open(index)) for index in range(len(images))])
    with torch.no_grad():
        clean = head.logits(head.features(pixels))
        zeroed = site.replace(head.features, pixels, lambda q, a: torch.zeros_like(a))
    assert (zeroed[:, :WIDTH] - head.features(pixels)[:, :WIDTH]).abs().max() > 1e-3
    assert (zeroed[:, WIDTH:] - head.features(pixels)[:, WIDTH:]).abs().max() > 1e-3
    torch.testing.assert_close(torch.from_numpy(measured.logits.copy()), clean, rtol=1e-4, atol=1e-4)
    labels = head.targets(torch.from_numpy(images.labels))
    correct = (head.logits(zeroed).argmax(1) == labels).float().mean()
    same = (head.logits(zeroed).argmax(1) == clean.argmax(1)).float().mean()
    assert measured.floors["zero"] == pytest.approx((float(correct), float(same)))
    passes = Passes(vit, site, images, 7, head.features)
    torch.testing.assert_close(passes.first_features()[0], head.features(pixels[:7]))


def test_the_identity_is_that_of_the_weights_and_classes(vit: Backbone, images: ImageSet, tmp_path: Path) -> None:
    first = kind(vit, images, save(tmp_path, published())).identity()
    copy = kind(vit, images, save(tmp_path, published(), "copy.pt")).identity()
    other = kind(vit, images, save(tmp_path, published(bias=torch.zeros(1000)), "other.pt")).identity()
    assert first["kind"] == "dinov2_linear" and first == copy and first["weights"] != other["weights"]
    renamed = dataclasses.replace(images, classes=tuple(IDS[:3]))
    assert kind(vit, renamed, save(tmp_path, published())).identity()["classes"] != first["classes"]
    unknown = dataclasses.replace(images, classes=("a", "b", "c"))
    head = kind(vit, unknown, save(tmp_path, published()))
    assert head.identity()["classes"] is None and head.class_index is None
    assert "No accuracy for dinov2_vits14" in head.notes()[0] and "none of the 3 classes" in head.notes()[0]


def test_half_precision_and_the_weights_of_the_whole_classifier_are_read(
    vit: Backbone, images: ImageSet, tmp_path: Path
) -> None:
    state = {name: tensor.half().float() for name, tensor in published().items()}
    plain = kind(vit, images, save(tmp_path, state)).identity()
    halves = kind(vit, images, save(tmp_path, {name: tensor.half() for name, tensor in state.items()})).identity()
    whole = {f"linear_head.{name}": tensor for name, tensor in state.items()} | {"backbone.norm.bias": torch.zeros(3)}
    assert plain == halves == kind(vit, images, save(tmp_path, whole)).identity()


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"weight": torch.zeros(1000, 48)}, r"it must hold 'weight' and 'bias', and it holds weight\."),
        ({"fc.weight": torch.zeros(1000, 48), "fc.bias": torch.zeros(1000)}, r"it holds fc\.weight, fc\.bias\."),
        (published(weight=torch.zeros(10, 48), bias=torch.zeros(10)), r"weight \(10, 48\) and bias \(10,\)"),
        (published(bias=torch.zeros(1)), r"bias \(1,\), but they must be \(1000, twice the width\) and \(1000,\)"),
        (published(weight=torch.full((1000, 48), torch.nan)), "not finite"),
        (published(bias=torch.full((1000,), torch.inf)), "not finite"),
        (published(WIDTH * 2), "reads 96 features, but dinov2_vits14 has 24 per token, so its head must read 48"),
        (published(weight=torch.zeros(1000, 5 * WIDTH)), "head of the last four layers"),
        (published(weight=torch.zeros(1000, WIDTH)), "reads 24 features"),
    ],
)
def test_other_files_are_refused(
    state: dict[str, Tensor], sentence: str, vit: Backbone, images: ImageSet, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        kind(vit, images, save(tmp_path, state)).check()


def test_missing_files_and_settings(vit: Backbone, images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint file '.*gone\.pth'"):
        kind(vit, images, str(tmp_path / "gone.pth")).check()
    with pytest.raises(UserError, match=r"no setting 'chekpoint'\. Did you mean checkpoint"):
        DINOv2Linear(vit, images, "x", {"chekpoint": "a"})


def test_other_backbones_need_a_file_or_are_refused(vit: Backbone, images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny_cnn does not have: use head = \"probe\""):
        kind(backbones.load("tiny_cnn"), images, save(tmp_path, published())).check()
    alone = dataclasses.replace(vit, final_tokens=lambda model, pixels: torch.zeros(len(pixels), 1, WIDTH))
    with pytest.raises(UserError, match=r"shape \(1, 1, 24\) for one image and 1 prefix tokens"):
        kind(alone, images, save(tmp_path, published())).check()
    tuned = dataclasses.replace(vit, name="tuned")
    with pytest.raises(UserError, match="no published linear head for tuned, only for dinov2_vits14"):
        kind(tuned, images, None).check()
    head = kind(tuned, images, save(tmp_path, published()))
    head.check()
    assert "which tuned may not have" in head.notes()[-1]
    assert not any("may not have" in note for note in kind(vit, images, save(tmp_path, published())).notes())


def test_the_published_file_of_the_backbone_is_downloaded(
    vit: Backbone, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []

    def download(url: str, **options: Any) -> dict[str, Tensor]:
        urls.append(url)
        assert options["weights_only"] is True
        return published()

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    head = kind(vit, images, None)
    head.check()
    assert head.identity() and urls == [
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_linear_head.pth"
    ]


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_setting_is_named(
    vit: Backbone, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"could not be downloaded .* head_settings = \{ checkpoint = \"FILE\" \}"):
        kind(vit, images, None).check()


def test_random_weights_have_a_random_head(vit: Backbone, images: ImageSet, tmp_path: Path) -> None:
    random = dataclasses.replace(vit, pretrained=False)
    head = kind(random, images, None)
    head.check()
    assert isinstance(head.make(tmp_path), TokensHead)
    assert head.identity() == kind(random, images, None).identity()
    assert "may not have" in head.notes()[-1]


def test_which_files_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    [missing] = DINOv2Linear.needs("dinov2_vitb14", {})
    assert not missing.local and missing.host == "dl.fbaipublicfiles.com"
    assert "target.dinov2_vitb14.head_settings.checkpoint=FILE" in missing.remedy
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "dinov2_vitb14_linear_head.pth").touch()
    assert DINOv2Linear.needs("dinov2_vitb14", {})[0].local
    [given] = DINOv2Linear.needs("dinov2_vitb14", {"checkpoint": str(tmp_path / "gone.pth")})
    assert not given.local and given.host is None and "gone.pth" in given.missing
    assert DINOv2Linear.needs("dinov2_vitb14", {}, weights=False) == []


def test_hugging_face_imagenet_is_measured(vit: Backbone, photo_folder: Path, tmp_path: Path) -> None:
    """A saved set with the 1000 names of the hub's ImageNet, of which the images have three."""
    words = ImageNetInfo("imagenet-1k").label_descriptions()
    names = [*words[:517], "crane2", *words[518:]]
    labels = hf_datasets.ClassLabel(names=names)
    features = hf_datasets.Features({"image": hf_datasets.Image(), "label": labels})
    rows = {"image": sorted(map(str, photo_folder.rglob("*.png"))), "label": [3, 517, 999] * 16}
    hf_datasets.Dataset.from_dict(rows, features).save_to_disk(tmp_path / "set")
    loaded = datasets.load(f"hf:{tmp_path / 'set'}")
    head = kind(vit, loaded, save(tmp_path, published()))
    assert head.class_index is not None and torch.equal(head.class_index, torch.arange(1000))
    assert set(head.make(tmp_path).targets(torch.from_numpy(loaded.labels)).tolist()) == {3, 517, 999}
    assert "by their words and order" in head.notes()[0]


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_a_run_measures_the_accuracy_of_the_head(imagenet_folder: Path, tmp_path: Path) -> None:
    """A timm ViT with its tokens, through a suite: the layer is unchanged, so the accuracy is that of the network."""
    file = save(tmp_path, published(64))
    target = {"backbone": "timm:test_vit", "weights": False, "site": "blocks.5.mlp.fc2", "head": "dinov2_linear"}
    metrics = {"top_images": 6, "batch_size": 5, "metrics": ["accuracy", "agreement"]}
    changes: dict[str, Any] = {"evaluation": metrics, "seeds": {"tokens": [1]}}
    suite = suite_of(
        imagenet_folder, "identity", targets=[{**target, "head_settings": {"checkpoint": file}}], **changes
    )
    reporter = Notes()
    run(suite, tmp_path / "r.duckdb", reporter=reporter, device="cpu")
    [prepared] = prepare(suite, device="cpu")
    head = prepared.head.make(tmp_path)
    with torch.no_grad():
        pixels = [prepared.backbone.preprocessing.center(prepared.evaluation.open(index)) for index in range(18)]
        right = head.logits(head.features(torch.stack(pixels))).argmax(1)
    expected = (right == head.targets(torch.from_numpy(prepared.evaluation.labels))).float().mean()
    found = scores(tmp_path / "r.duckdb").set_index("metric")["value"]
    assert found["accuracy"] == pytest.approx(float(expected)) and found["agreement"] == 1
    assert sum("3 classes of folder:" in sentence for sentence in reporter.said) == 1
