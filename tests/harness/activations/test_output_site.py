"""Output sites: tokens of blocks, norms and stages in every layout, and their replacement."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn

from harness.activations.output_site import OutputSite
from harness.errors import UserError


def network(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=3, **settings).eval()
    return model


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return network("vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=2, reg_tokens=2)


class Returning(nn.Module):
    """Network whose module ``block`` returns its tokens in some container."""

    def __init__(self, wrap: Any, unwrap: Any) -> None:
        super().__init__()
        self.block, self.unwrap = Wrapped(wrap), unwrap

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.unwrap(self.block(x))
        return hidden.mean(1)


class Wrapped(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x + 1)


class Pair(NamedTuple):
    hidden: Tensor
    attention: Tensor | None


def check_same(model: nn.Module, site: OutputSite, images: Tensor, n_tokens: int) -> None:
    """The tokens in place of themselves change nothing, zeros do, and the model is as it was."""
    with torch.inference_mode():
        expected = model(images)
    captured = site.capture(model, images)
    assert captured.a.shape == (len(images), n_tokens, site.d_out) and captured.q is not None
    assert torch.equal(site.replace(model, images, lambda q, a: a.clone()), expected)
    assert torch.equal(site.replace(model, images, lambda q, a: None), expected)
    assert not torch.allclose(site.replace(model, images, lambda q, a: torch.zeros_like(a)), expected)
    with torch.inference_mode():
        assert torch.equal(model(images), expected)


@pytest.mark.parametrize("path", ["blocks.0", "blocks.1", "norm", "blocks.1.mlp", "blocks.0.norm1", "blocks.1.attn"])
def test_a_vision_transformer(vit: nn.Module, path: str) -> None:
    site = OutputSite(vit, path, n_prefix_tokens=3)
    check_same(vit, site, torch.randn(3, 3, 16, 16), 3 + 4)
    assert site.positions(7).tolist() == [-1, -2, -3, 0, 1, 2, 3]
    assert (site.d_in, site.d_out) == (12, 12)


def test_the_output_is_the_blocks_own(vit: nn.Module) -> None:
    images, outputs = torch.randn(2, 3, 16, 16), []
    handle = vit.get_submodule("blocks.0").register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.inference_mode():
        vit(images)
    handle.remove()
    assert torch.equal(OutputSite(vit, "blocks.0", n_prefix_tokens=3).capture(vit, images).a, outputs[0])


@pytest.mark.parametrize(
    ("name", "path", "side"),
    [
        ("resnet10t", "layer2", 4),
        ("resnet10t", "layer1.0.bn1", 8),
        ("convnext_atto", "stages.1", 4),
        ("swin_tiny_patch4_window7_224", "layers.1", 4),
        ("efficientnet_lite0", "blocks.2.0", 4),
    ],
)
def test_feature_maps_of_both_layouts_are_read_row_by_row(name: str, path: str, side: int) -> None:
    # A residual branch whose last scale is 0, as at the start of training, would have no effect.
    settings: dict[str, Any] = {"zero_init_last": False} if name.startswith("resnet") else {}
    if name.startswith("swin"):
        settings = {"img_size": 32, "window_size": 4}
    model = network(name, **settings)
    site = OutputSite(model, path, grid_sides=frozenset({1, 2, 4, 8, 16}))
    images = torch.randn(2, 3, 32, 32)
    check_same(model, site, images, side**2)
    outputs: list[Tensor] = []
    # A copy: the next module may work in place.
    handle = model.get_submodule(path).register_forward_hook(lambda module, inputs, out: outputs.append(out.clone()))
    with torch.inference_mode():
        model(images)
    handle.remove()
    width_first = outputs[0].shape[1] != outputs[0].shape[2]
    rows = outputs[0].permute(0, 2, 3, 1) if width_first else outputs[0]
    assert torch.equal(site.capture(model, images).a, rows.flatten(1, 2))
    assert site.positions(side**2).tolist() == list(range(side**2))


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda x: (x,), lambda out: out[0]),
        (lambda x: [x, None], lambda out: out[0]),
        (lambda x: (x, torch.zeros(len(x), 2, 4, 4)), lambda out: out[0]),
        (lambda x: Pair(x, None), lambda out: out.hidden),
        (lambda x: OrderedDict(last_hidden_state=x, note="text"), lambda out: out["last_hidden_state"]),
    ],
)
def test_containers_keep_what_else_they_hold(wrap: Any, unwrap: Any) -> None:
    model = Returning(wrap, unwrap)
    check_same(model, OutputSite(model, "block"), torch.randn(2, 4, 5), 4)
    x = torch.randn(2, 4, 5)
    edited = OutputSite(model, "block").replace(model, x, lambda q, a: 2 * a)
    assert torch.allclose(edited, 2 * (x + 1).mean(1))


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda x: (x, x.clone()), "a tuple with tensors of the shapes"),
        (lambda x: {"a": "text"}, "shapes none"),
        (lambda x: x.long(), "type torch.int64"),
        (lambda x: x[0, 0, 0], "a tensor of shape"),
        (lambda x: "text", "a str"),
        (lambda x: x[:, None, :3, :5], "no two of its dimensions are a square"),
        (lambda x: torch.zeros(len(x), 2, 2, 2), "both its first and its last two dimensions may be"),
        (lambda x: x.flatten(0, 1), "groups of tokens"),
    ],
)
def test_what_has_no_tokens_is_refused(wrap: Any, reason: str) -> None:
    model = Returning(wrap, lambda out: torch.zeros(1, 1, 1))
    with pytest.raises(UserError, match=reason):
        OutputSite(model, "block").capture(model, torch.randn(2, 4, 5))


def test_one_vector_per_image_is_one_token() -> None:
    model = Returning(lambda x: x.mean(1), lambda out: out[:, None])
    site = OutputSite(model, "block")
    assert site.capture(model, torch.randn(2, 4, 5)).a.shape == (2, 1, 5)
    assert site.positions(1).tolist() == [0]


def test_modules_that_work_in_place_do_not_change_what_was_captured() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Wrapped(lambda x: x)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.block(x)
            return result.mul_(0).mean(1)

    model, captured = InPlace(), []
    OutputSite(model, "block").replace(model, torch.ones(2, 4, 5), lambda q, a: captured.append(a))
    assert torch.equal(captured[0], torch.full((2, 4, 5), 2.0))


def test_it_has_neither_weights_nor_a_width_before_it_ran(vit: nn.Module) -> None:
    site = OutputSite(vit, "blocks.0", n_prefix_tokens=3)
    for name in ("weight", "bias"):
        with pytest.raises(UserError, match=r"is the output of a Block, which has no (weight matrix|bias)"):
            getattr(site, name)
    with pytest.raises(RuntimeError, match=r"call locate\(backbone\) first"):
        _ = site.d_out
    assert site.identity() == {"site": "blocks.0", "kind": "output"} and site.layer_macs is None


def test_attention_maps_and_tables_of_positions_are_no_sites() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.softmax, self.table = nn.Softmax(dim=-1), Wrapped(lambda x: x[:1])

        def forward(self, x: Tensor) -> Tensor:
            attention: Tensor = self.softmax(x[:, :3, :1, None].expand(-1, 3, 16, 16))
            return attention.mean((1, 2, 3))[:, None] + self.table(x).mean((1, 2))[:, None]

    model = Maps()
    with pytest.raises(UserError, match="returns an attention map"):
        OutputSite(model, "softmax", grid_sides=frozenset({16})).capture(model, torch.randn(2, 4, 5))
    with pytest.raises(UserError, match="works on 1 groups of tokens for 2 images"):
        OutputSite(model, "table").capture(model, torch.randn(2, 4, 5))
