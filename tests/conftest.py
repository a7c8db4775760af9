"""Shared fixtures: opt-in flags, a tiny backbone on disk-free random weights, and small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.backbones import register
from harness.backbones.base import Backbone, Preprocessing
from harness.backbones.sources import hub
from harness.backbones.sources.base import Request, Source

PREPROCESSING = Preprocessing(size=28, resize=32, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests marked slow")
    parser.addoption("--gpu", action="store_true", help="run tests marked gpu")
    parser.addoption("--browser", action="store_true", help="run tests marked browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for flag, reason in (
        ("slow", "slow: run with --slow"),
        ("gpu", "needs a GPU: run with --gpu"),
        ("browser", "needs a browser: run with --browser"),
    ):
        if not config.getoption(f"--{flag}"):
            for item in items:
                if flag in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=reason))


def _tiny_vit(request: Request) -> Backbone:
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(img_size=28, patch_size=7, embed_dim=24, depth=3, num_heads=3, num_classes=0)
        # Fresh weights give nearly the same output for every token; stronger ones give units something to do.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
    return Backbone(
        name=request.spec,
        title="tiny ViT",
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=1,
        default_site="blocks.1.mlp.fc2",
        source="tests",
        license="none",
        pretrained=False,
        pool=lambda net, images: net(images),
    )


def _tiny_cnn(request: Request) -> Backbone:
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential()
        model.add_module("stem", nn.Sequential(nn.Conv2d(3, 8, 7, stride=7), nn.ReLU()))
        model.add_module("mix", nn.Conv2d(8, 12, 1))
        model.add_module("pool", nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        model.add_module("fc", nn.Linear(12, 5))
    return Backbone(
        name=request.spec,
        title="tiny CNN",
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=0,
        default_site="mix",
        source="tests",
        license="none",
        pretrained=False,
        pool=lambda net, images: net.pool(net.mix(net.stem(images))),
        head=lambda net, features: net.fc(features),
        n_classes=5,
    )


for _name, _build in (("tiny_vit", _tiny_vit), ("tiny_cnn", _tiny_cnn)):
    register(Source(name=_name, title=_name, source="tests", license="none", build=_build))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 3 x 16 small pictures whose classes differ in colour and stripes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for number in range(16):
            pixels = generator.integers(0, 90, (40, 40, 3))
            pixels[..., 2 - label] += 120
            pixels[:: 2 + label] //= 2
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has, these tests see none: the hub's name does not resolve and torch.hub cannot download."""
    monkeypatch.setattr(hub, "_resolves", lambda host: False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
