"""Sites of a backbone: the kind at a path, errors that name the nearest paths, and the list of all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness import backbones
from harness.activations.linear_site import linear_obstacle
from harness.activations.sites import all_sites, linear_paths, nearest_linear, open_site
from harness.backbones.base import Backbone
from harness.errors import UserError


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return backbones.load("tiny_vit")


@pytest.fixture(scope="module")
def cnn() -> Backbone:
    return backbones.load("tiny_cnn")


def test_a_linear_map_is_a_linear_site_and_every_other_module_an_output_site(vit: Backbone, cnn: Backbone) -> None:
    kinds = {path: open_site(vit, path).kind for path in ("blocks.1.mlp.fc2", "blocks.1.attn.proj", "blocks.1", "norm")}
    assert list(kinds.values()) == ["linear", "linear", "output", "output"]
    assert [open_site(cnn, path).kind for path in ("mix", "stem")] == ["linear", "output"]


def test_the_positions_of_an_output_site_are_found_at_once(vit: Backbone) -> None:
    site = open_site(vit, "blocks.2")
    assert site.d_out == 24 and site.positions(17).tolist() == [-1, *range(16)]
    assert site.identity() == {"site": "blocks.2", "kind": "output"}
    assert open_site(vit, "blocks.1.mlp.fc2").identity() == {"site": "blocks.1.mlp.fc2"}


def test_wrong_paths_are_answered_with_the_nearest(vit: Backbone, cnn: Backbone) -> None:
    with pytest.raises(UserError, match=r"no layer 'blocks\.11'\. Did you mean blocks\.1\b"):
        open_site(vit, "blocks.11")
    with pytest.raises(UserError, match=r"Did you mean blocks\.1\.mlp\.fc2"):
        open_site(vit, "blocks.11.mlp.fc2")
    with pytest.raises(UserError, match="no layer ''"):
        open_site(cnn, "")
    with pytest.raises(UserError, match="never reached the layer 'fc'"):
        open_site(cnn, "fc")


def test_why_a_module_is_not_linear() -> None:
    assert linear_obstacle(nn.Linear(2, 3)) is None and linear_obstacle(nn.Conv2d(2, 3, 1)) is None
    assert "kernel is 3x3" in str(linear_obstacle(nn.Conv2d(3, 5, 3)))
    assert "is a LayerNorm" in str(linear_obstacle(nn.LayerNorm(3)))


def test_all_sites_are_listed_with_their_kind(vit: Backbone, cnn: Backbone) -> None:
    rows = {row.path: row for row in all_sites(vit)}
    assert rows["blocks.1.mlp.fc2"][1:] == ("linear", 96, 24)
    assert rows["blocks.1"][1:] == rows["norm"][1:] == ("output", None, 24)
    assert list(rows).index("blocks.1") < list(rows).index("blocks.1.mlp.fc2") < list(rows).index("blocks.2")
    # Dropout and identity return their argument; the attention's parts work on heads; the whole has no module path.
    assert not [path for path in rows if "drop" in path or "q_norm" in path or not path]
    assert {row.path for row in all_sites(cnn) if row.kind == "output" and "." not in row.path} == {"stem", "pool"}
    for row in rows.values():
        if row.kind == "output":
            assert open_site(vit, row.path).d_out == row.d_out


def test_the_nearest_linear_layers_of_a_block_are_inside_it(vit: Backbone, cnn: Backbone) -> None:
    assert nearest_linear("blocks.1", vit.model) == ["blocks.1.mlp.fc2", "blocks.1.mlp.fc1", "blocks.1.attn.proj"]
    assert nearest_linear("norm", vit.model)[0] == "blocks.2.mlp.fc2"
    assert nearest_linear("pool", cnn.model) == ["mix"] and linear_paths(cnn.model) == ["fc", "mix"]


def test_a_site_runs_no_gradients(vit: Backbone) -> None:
    captured = open_site(vit, "blocks.0").capture(vit.features, torch.zeros(2, 3, 28, 28))
    assert captured.a.shape == (2, 17, 24) and not captured.a.requires_grad
