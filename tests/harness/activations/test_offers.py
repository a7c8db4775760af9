"""Offers to methods: pixels as the network saw them, views, boxes, and a copy of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_backbones  # noqa: F401 - registers them
import torch
from torch import Tensor

from harness import backbones, datasets
from harness.activations.collect import collect
from harness.activations.offers import Offer, granted
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site_network import SiteNetwork
from harness.activations.sites import open_site
from harness.activations.token_set import TokenSet
from harness.backbones.base import Backbone
from harness.errors import UserError
from methods.interface import OFFERS


def given(
    name: str, folder: Path, cache: Path, *, crops: int = 2, site: str | None = None
) -> tuple[Backbone, TokenSet, Any, Any]:
    backbone = backbones.load(name, device="cpu")
    opened = open_site(backbone, site or str(backbone.default_site))
    images = datasets.load(f"folder:{folder}")
    plan = ProbingPlan(crops=crops, tokens_per_image=5, dtype="float32", seed=3)
    (tokens,) = collect(backbone, opened, images, [plan], cache, batch_size=7)
    return backbone, tokens, *granted(tokens, opened, Offer(images, crops, backbone), OFFERS, "mine")


@pytest.mark.parametrize(("name", "site"), [("tiny_cnn", None), ("tiny_vit", None), ("tiny_vit", "blocks.1")])
@pytest.mark.parametrize("crops", [0, 2])
def test_the_pixels_of_a_view_give_its_tokens(
    name: str, site: str | None, crops: int, photo_folder: Path, tmp_path: Path
) -> None:
    backbone, stored, tokens, where = given(name, photo_folder, tmp_path, crops=crops, site=site)
    network = where.network
    positions = where.positions(network.output(backbone.blank_images(1)).shape[1]).tolist()
    for row in range(0, tokens.n, 17):
        pixels = tokens.pixels(int(tokens.image[row]), int(tokens.view[row]))
        assert pixels.dtype == torch.uint8 and pixels.shape == (3, 28, 28)
        a = network.output(network.inputs(pixels[None]))[0, positions.index(int(tokens.position[row]))]
        torch.testing.assert_close(a, stored.gather("output", np.array([row]))[0], rtol=1e-4, atol=1e-4)
    assert tokens.n_views == max(1, crops) == len(np.unique(tokens.view))


def test_sets_that_were_written_without_views_give_the_same(photo_folder: Path, tmp_path: Path) -> None:
    _, stored, tokens, _ = given("tiny_cnn", photo_folder, tmp_path)
    with np.load(stored.folder / "index.npz") as index:
        columns = {name: index[name] for name in index.files}
    views = columns.pop("view")
    np.savez(stored.folder / "index.npz", **columns)
    earlier = TokenSet(stored.folder)
    earlier.check()
    assert np.array_equal(earlier.view, views) and np.array_equal(views, tokens.view) and set(views) == {0, 1}


def test_boxes_cover_a_view_once(photo_folder: Path, tmp_path: Path) -> None:
    _, _, tokens, _ = given("tiny_vit", photo_folder, tmp_path)
    assert tokens.grid_side == 4
    covered = torch.zeros(28, 28)
    for position in range(16):
        top, left, bottom, right = tokens.box(position)
        covered[top:bottom, left:right] += 1
    assert bool((covered == 1).all()) and tokens.box(5) == (7, 7, 14, 14)
    for outside in (-1, 16):
        with pytest.raises(UserError, match=f"The position {outside} has no box: the grid has 0 to 15"):
            tokens.box(outside)


def test_other_images_and_views_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    _, _, tokens, _ = given("tiny_cnn", photo_folder, tmp_path)
    for image, view in ((-1, 0), (10_000, 0), (0, 2), (0, -1)):
        with pytest.raises(UserError, match=f"There is no view {view} of an image {image}: .*with 2 views each"):
            tokens.pixels(image, view)


def test_gradients_of_logits_are_those_of_the_head(photo_folder: Path, tmp_path: Path) -> None:
    """The tiny CNN rectifies the layer's output, averages it over 16 positions, and applies a linear head."""
    backbone, _, tokens, where = given("tiny_cnn", photo_folder, tmp_path, crops=0)
    network, kept = where.network, list[Tensor]()

    def edit(a: Tensor) -> Tensor:
        kept.append(a.detach().requires_grad_())
        return kept[0]

    images = network.inputs(torch.stack([tokens.pixels(image) for image in range(3)]))
    logits = network.logits(images, edit)
    assert network.n_classes == 5 and torch.allclose(logits, backbone.head_logits(backbone.features(images)))
    (gradient,) = torch.autograd.grad(logits[:, 2].sum(), kept[0])
    weight = backbone.model.get_submodule("fc").weight[2]
    torch.testing.assert_close(gradient, (kept[0] > 0) * weight / 16)
    zeroed = network.features(images, torch.zeros_like)
    assert torch.equal(zeroed, torch.zeros(3, 12)) and torch.equal(network.features(images), backbone.features(images))


def test_what_a_fit_does_to_the_network_stays_there() -> None:
    backbone = backbones.load("tiny_cnn", device="cpu")
    site = open_site(backbone, "mix")
    before = backbone.features(backbone.blank_images(1))
    network = SiteNetwork(backbone, site)
    assert not any(parameter.requires_grad for parameter in network.module.parameters()) and not network.module.training
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.fill_(1.0)
    network.module.train()
    assert torch.equal(backbone.features(backbone.blank_images(1)), before) and not backbone.model.training


def test_a_network_without_a_head_has_features_only() -> None:
    backbone = backbones.load("tiny_vit", device="cpu")
    network = SiteNetwork(backbone, open_site(backbone, "blocks.1.mlp.fc2"))
    images = backbone.blank_images(2)
    assert network.n_classes is None and network.features(images).shape == (2, 24)
    with pytest.raises(UserError, match="tiny_vit has no classification head"):
        network.logits(images)


@pytest.mark.parametrize("pixels", [torch.zeros(1, 3, 28, 28), torch.zeros(3, 28, 28, dtype=torch.uint8)])
def test_inputs_are_made_of_pixels(pixels: Tensor) -> None:
    backbone = backbones.load("tiny_cnn", device="cpu")
    network = SiteNetwork(backbone, open_site(backbone, "mix"))
    with pytest.raises(UserError, match=r"it needs uint8 pixels \(B, 3, 28, 28\)"):
        network.inputs(pixels)
