"""The linear probe: what it makes of features that carry nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness import backbones, datasets
from harness.activations.heads.base import LinearHead
from harness.activations.heads.probe import Probe


def probe(photo_folder: Path, cache: Path, constant: float) -> tuple[LinearHead, Tensor]:
    """A probe on the mean of each colour channel and a constant feature, and the features of the images."""

    def pool(model: nn.Module, images: Tensor) -> Tensor:
        return torch.cat([images.mean((2, 3)), torch.full((len(images), 1), constant)], 1)

    backbone = dataclasses.replace(backbones.load("tiny_vit"), pool=pool)
    images = datasets.load(f"folder:{photo_folder}")
    made = Probe(backbone, images, images.name, {}).make(cache)
    assert isinstance(made, LinearHead)
    inputs = torch.stack([backbone.preprocessing.center(images.open(index)) for index in range(len(images))])
    return made, pool(backbone.model, inputs)


@pytest.mark.parametrize("constant", [0.0, 3.0, 0.1])
def test_a_constant_feature_has_no_weight_in_the_probe(photo_folder: Path, tmp_path: Path, constant: float) -> None:
    """The classes of the pictures differ in colour, so the probe is right about all of them."""
    head, features = probe(photo_folder, tmp_path, constant)
    assert head.weight.shape == (3, 4)
    torch.testing.assert_close(head.weight[:, 3], torch.zeros(3), atol=1e-6, rtol=0)
    labels = datasets.load(f"folder:{photo_folder}").labels
    assert head.logits(features).argmax(1).tolist() == labels.tolist()
