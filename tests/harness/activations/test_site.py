"""The site: capture and replacement in every layout, and errors that name the nearest layer."""

from __future__ import annotations

import pytest
import torch
from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.activations.linear_site import LinearLayerSite
from harness.activations.site import Site
from harness.errors import UserError


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=3, reg_tokens=2
    ).eval()


@pytest.fixture(scope="module")
def convnext() -> ConvNeXt:
    torch.manual_seed(0)
    return ConvNeXt(depths=(1, 1, 1, 1), dims=(4, 8, 8, 8), num_classes=3).eval()


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def check_capture(model: nn.Module, site: Site, images: torch.Tensor, n_tokens: int) -> None:
    q, a = site.capture(model, images)
    assert q.shape == (len(images), n_tokens, site.d_in) and a.shape == (len(images), n_tokens, site.d_out)
    torch.testing.assert_close(q @ site.weight.T + site.bias, a, rtol=1e-4, atol=1e-5)


def test_vit_tokens_with_cls_and_registers_marked(vit: VisionTransformer) -> None:
    site = LinearLayerSite(vit, "blocks.1.mlp.fc2", n_prefix_tokens=3)
    check_capture(vit, site, torch.randn(2, 3, 16, 16), 3 + 4)
    assert site.positions(7).tolist() == [-1, -2, -3, 0, 1, 2, 3]


def test_nchw_convolution() -> None:
    model = cnn()
    site = LinearLayerSite(model, "1")
    check_capture(model, site, torch.randn(2, 3, 8, 8), 16)
    assert site.positions(16).tolist() == list(range(16))


def test_positions_run_row_by_row_in_both_layouts() -> None:
    """A layer that passes its input through shows which place each token has."""

    class NHWC(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.permute(0, 2, 3, 1))

    grid = torch.arange(12.0).reshape(1, 1, 3, 4)
    conv, linear = nn.Sequential(nn.Conv2d(1, 1, 1)), NHWC()
    for model, path in ((conv, "0"), (linear, "layer")):
        q, _ = LinearLayerSite(model, path).capture(model, grid)
        assert q[0, :, 0].tolist() == list(range(12))


def test_nhwc_linear_layers_of_a_convnext(convnext: ConvNeXt) -> None:
    site = LinearLayerSite(convnext, "stages.2.blocks.0.mlp.fc2")
    check_capture(convnext, site, torch.randn(2, 3, 64, 64), 16)


@pytest.mark.parametrize("path", ["blocks.0.mlp.fc1", "blocks.1.mlp.fc2", "blocks.1.attn.proj"])
def test_replacing_by_the_same_changes_nothing(vit: VisionTransformer, path: str) -> None:
    images = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        expected = vit(images)
    site = LinearLayerSite(vit, path, n_prefix_tokens=3)
    assert torch.equal(site.replace(vit, images, lambda q, a: a.clone()), expected)
    assert not torch.allclose(site.replace(vit, images, lambda q, a: torch.zeros_like(a)), expected)
    with torch.inference_mode():
        assert torch.equal(vit(images), expected), "the model is as it was"


def test_replacing_in_nchw_reaches_the_output() -> None:
    model = cnn()
    site = LinearLayerSite(model, "1")
    marks = torch.arange(16.0)[None, :, None].expand(2, 16, 7)
    found = site.replace(model, torch.randn(2, 3, 8, 8), lambda q, a: marks)
    assert torch.allclose(found, torch.full((2, 7), 7.5))


def test_capture_stops_at_the_layer(vit: VisionTransformer) -> None:
    calls: list[str] = []
    handle = vit.head.register_forward_hook(lambda *args: calls.append("head"))
    LinearLayerSite(vit, "blocks.0.mlp.fc2").capture(vit, torch.randn(1, 3, 16, 16))
    handle.remove()
    assert not calls


def test_layers_that_are_called_twice_or_never_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twice(self.twice(x))

    model = Odd()
    with pytest.raises(UserError, match="more than once"):
        LinearLayerSite(model, "twice").replace(model, torch.randn(2, 4), lambda q, a: None)
    with pytest.raises(UserError, match="never reached"):
        LinearLayerSite(model, "never").replace(model, torch.randn(2, 4), lambda q, a: None)


def test_windowed_layers_are_refused() -> None:
    class Windowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.reshape(-1, 2, 4))

    model = Windowed()
    with pytest.raises(UserError, match="groups of tokens"):
        LinearLayerSite(model, "layer").capture(model, torch.randn(2, 8, 4))


@pytest.mark.parametrize("first", [False, True])
def test_hooks_that_a_layer_has_are_given_the_edited_tokens_on_request(vit: VisionTransformer, first: bool) -> None:
    site = LinearLayerSite(vit, "blocks.0.mlp.fc2", n_prefix_tokens=3)
    collected: list[torch.Tensor] = []
    handle = site.module.register_forward_hook(lambda module, inputs, output: collected.append(output))
    try:
        with torch.inference_mode(), site.tapped(lambda q, a: torch.zeros_like(a), 2, first=first):
            vit(torch.randn(2, 3, 16, 16))
    finally:
        handle.remove()
    assert bool(collected[0].any()) is not first
