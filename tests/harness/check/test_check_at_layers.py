"""``harness check --backbone``: the contract at a real layer, and what cannot be checked there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401 - registers them
from plugins import clean_registries
from reading_methods import ALL
from typer.testing import CliRunner

import methods
from harness.check import CheckTarget, LayerName, check
from harness.check.layers import open_layer
from harness.cli import app
from harness.errors import UserError
from methods.identity import Identity

pytestmark = pytest.mark.run


class OfWidth(Identity):
    """Identity for layers with 24 outputs only."""

    spec = Identity.spec._replace(name="of_width", title="of width")

    @classmethod
    def layer_width(cls, config: Any) -> int | None:
        return 24

    def learn(self, tokens: Any, site: Any, *arguments: Any) -> None:
        super().learn(tokens, site, *arguments)
        assert site.d_out == 24 == tokens.width("output")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with clean_registries():
        for cls in (*ALL, OfWidth):
            methods.register(cls)
        yield


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("topk_sae", LayerName("tiny_vit", "blocks.1.mlp.fc2")),
        ("elude", LayerName("tiny_cnn")),
        ("pca", LayerName("tiny_vit", "blocks.1")),
        ("of_width", LayerName("tiny_vit")),
        ("class_gradients", LayerName("tiny_cnn")),
        ("mean_colour", LayerName("tiny_cnn")),
    ],
)
def test_methods_keep_the_contract_at_real_layers(name: str, layer: LayerName, photo_folder: Path) -> None:
    report = check(CheckTarget("method", name), layer=layer._replace(dataset=f"folder:{photo_folder}"))
    assert [finding for finding in report.findings if not finding.ok] == []
    path = layer.site or {"tiny_vit": "blocks.1.mlp.fc2", "tiny_cnn": "mix"}[layer.backbone]
    assert report.layer.startswith(f"{path} of tiny") and f" tokens of folder:{photo_folder.name}" in report.layer


def test_a_method_gets_the_width_it_asks_for_without_a_layer() -> None:
    report = check(CheckTarget("method", "of_width"))
    assert report.ok and report.layer == ""


def test_a_method_that_fails_only_at_this_layer_is_found(photo_folder: Path) -> None:
    class Fails(Identity):
        spec = Identity.spec._replace(name="fails_at_12")

        def learn(self, tokens: Any, site: Any, *arguments: Any) -> None:
            super().learn(tokens, site, *arguments)
            if site.d_out == 12:
                raise ValueError("twelve")

    methods.register(Fails)
    assert check(CheckTarget("method", "fails_at_12")).ok
    at = LayerName("tiny_cnn", dataset=f"folder:{photo_folder}")
    assert "twelve" in next(
        one.why for one in check(CheckTarget("method", "fails_at_12"), layer=at).findings if not one.ok
    )


def test_the_command_names_the_layer(photo_folder: Path) -> None:
    arguments = ["pca", "--backbone", "tiny_vit", "--site", "blocks.2.mlp.fc1", "--dataset", f"folder:{photo_folder}"]
    result = command(*arguments)
    assert result.exit_code == 0 and "checked at blocks.2.mlp.fc1 of tiny ViT," in result.output
    [report] = json.loads(command(*arguments, "--json").output)
    assert report["layer"].startswith("blocks.2.mlp.fc1 of tiny ViT, ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pca", "--site", "mix"], "--site mix needs a backbone: give --backbone NAME"),
        (["pca", "--dataset", "photos:20"], "--dataset photos:20 needs a backbone"),
        (["pca", "--site", ""], "--site is empty: give a module path, or leave it out"),
        (["pca", "--backbone", "tiny_vit", "--site", ""], "--site is empty: give a module path"),
        (["pca", "--dataset", " "], "--dataset is empty: give an image set"),
        (["pca", "--backbone", ""], "--backbone is empty: give a name"),
        (["pca", "--backbone", "tiny_vti"], "Did you mean tiny_vit"),
        (["pca", "--backbone", "tiny_vit", "--site", "blocks.9.mlp.fc2"], "The backbone has no layer"),
        (["pca", "--backbone", "tiny_vit", "--dataset", "folder:/absent"], "there is no folder"),
        (["r2", "--backbone", "tiny_vit"], "a metric is not checked at a layer; only methods are"),
        (["elude", "--backbone", "tiny_vit", "--site", "blocks.1"], "ELUDe needs the input or the weights of a linear"),
        (["of_width", "--backbone", "tiny_cnn"], "of width reads 24 features, and 'mix' of tiny CNN has 12"),
    ],
)
def test_what_cannot_be_checked_there_is_one_sentence(arguments: list[str], sentence: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 1 and sentence in " ".join(str(result.exception or result.output).split())


@pytest.mark.parametrize("layer", [LayerName(""), LayerName("tiny_vit", "")])
def test_an_empty_name_is_refused(layer: LayerName) -> None:
    with pytest.raises(UserError, match="is empty; give both"):
        check(CheckTarget("method", "pca"), layer=layer)


def test_few_images_are_run_through_the_network(photo_folder: Path) -> None:
    opened = open_layer(LayerName("tiny_cnn", dataset="photos:200"), "cpu")
    assert len(opened.probing) == 60
    with pytest.raises(UserError, match="Did you mean"):
        open_layer(LayerName("tiny_cnn", dataset="photo"), "cpu")
