"""Inputs of torch.hub models: records of timm and torchvision are used, and an assumption is said."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights

from harness import backbones
from harness.backbones.preprocessing import IMAGENET_224
from harness.backbones.sources.base import Request
from harness.backbones.sources.torchhub_inputs import hub_input

pytestmark = pytest.mark.usefixtures("no_network")

REQUEST = Request("torchhub:a/b:c", "a/b:c")

HUBCONF = """
import torch
from torch import nn

def tiny(pretrained=True):
    return nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def of_timm(pretrained=True):
    import timm
    return timm.create_model("test_vit", pretrained=False)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "mine"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


def test_assumed_preprocessing_gives_a_note(repository):
    backbone = backbones.load(f"torchhub:{repository}:tiny")
    assert backbone.preprocessing == IMAGENET_224
    assert backbone.notes == ("The hub entry does not state its preprocessing: DINOv2's is assumed.",)
    assert backbones.load(f"torchhub:{repository}:tiny", weights=False).notes == ()


def test_checkpoints_may_be_wrapped(repository, tmp_path):
    state = {"0.weight": torch.ones(4, 3, 16, 16), "0.bias": torch.ones(4)}
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "x.pth")
    backbone = backbones.load(f"torchhub:{repository}:tiny", checkpoint=tmp_path / "x.pth")
    assert backbone.model[0].bias.tolist() == [1] * 4
    assert backbone.notes == ("'x.pth' does not state its preprocessing: DINOv2's is assumed.",)


def test_a_model_of_timm_brings_its_record(repository):
    backbone = backbones.load(f"torchhub:{repository}:of_timm")
    assert (backbone.preprocessing.size, backbone.preprocessing.mean, backbone.notes) == (160, (0.5,) * 3, ())


@pytest.mark.parametrize("local", [False, True])
def test_torchvisions_entries_have_torchvisions_transform(tmp_path, local):
    (tmp_path / "torchvision" / "models").mkdir(parents=True)
    repository = str(tmp_path) if local else "pytorch/vision:v0.20.0"
    given = hub_input(nn.Identity(), repository, "resnet18", REQUEST)
    image = Image.effect_noise((300, 217), 80).convert("RGB")
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()(image)
    torch.testing.assert_close(given.preprocessing.center(image), expected, rtol=0, atol=1e-5)
    assert given.preprocessing.interpolation == "bilinear" and given.notes == ()
    assert hub_input(nn.Identity(), repository, "inception_v3", REQUEST).preprocessing.size == 299
    assert len(hub_input(nn.Identity(), repository, "no_such_entry", REQUEST).notes) == 1


def test_a_record_written_by_hand_is_not_trusted():
    """DeiT's hub models carry timm's default mean of 0.5, but were trained with ImageNet's."""
    model = nn.Identity()
    model.default_cfg = model.pretrained_cfg = {"mean": (0.5,) * 3, "input_size": (3, 224, 224)}
    assert hub_input(model, "facebookresearch/deit", "deit_tiny", REQUEST).preprocessing == IMAGENET_224
