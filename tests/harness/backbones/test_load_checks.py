"""Checks of a loaded backbone: every way in which features may depend on more than the image is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import backbones
from harness.backbones.base import Backbone
from harness.backbones.load_checks import check_loaded
from methods.errors import UserError


def mean(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).mean((2, 3))


def backbone(pool: Callable[[nn.Module, Tensor], Tensor] = mean) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 7, stride=7), nn.BatchNorm2d(4))
    return replace(backbones.load("tiny_vit"), name="made", model=model, pool=pool, grid_sides=None)


def dropout(model: nn.Module, images: Tensor) -> Tensor:
    return functional.dropout(mean(model, images), 0.5)


def numpy_noise(model: nn.Module, images: Tensor) -> Tensor:
    return mean(model, images) + np.random.rand()  # noqa: NPY002 (code of others may do this)


def python_noise(model: nn.Module, images: Tensor) -> Tensor:
    return mean(model, images) * random.random()


def trained_batch_norm(model: nn.Module, images: Tensor) -> Tensor:
    model[1].train()
    return mean(model, images)


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (dropout, "The forward pass of 'made' is random: the features of two passes on the same images differ by up"),
        (numpy_noise, "is random"),
        (python_noise, "is random"),
        (trained_batch_norm, "depend on the other images of the batch"),
        (lambda model, images: model(images).flatten(2), r"have the shape \(2, 4, 16\) for 2 images"),
        (lambda model, images: mean(model, images).sum(), r"have the shape \(\)"),
        (lambda model, images: mean(model, images).log() * 0 - torch.inf, "are NaN or infinite on random images"),
        (lambda model, images: model(images[:, :2]), r"cannot process images of 28 px.*RuntimeError"),
    ],
)
def test_invalid_features_are_refused(pool: Callable[[nn.Module, Tensor], Tensor], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_loaded(backbone(pool))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_infinite_weights_are_named(value: float) -> None:
    damaged = backbone()
    damaged.model[0].weight[0, 0, 0, 0] = value
    with pytest.raises(UserError, match=r"The backbone 'made' holds NaN .* in 1 of .*first: 0\.weight, 1 of"):
        check_loaded(damaged)


def test_a_mask_of_minus_infinity_is_accepted() -> None:
    masked = backbone()
    masked.model.register_buffer("mask", torch.full((2, 2), -torch.inf))
    check_loaded(masked)


def test_only_the_grid_sides_are_changed() -> None:
    made = backbone()
    before = made.fingerprint()
    made._fingerprint = None
    states = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    check_loaded(made)
    after = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert torch.equal(states[0], after[0]) and states[1:] == after[1:]
    assert made.fingerprint() == before and made.grid_sides == {4, 2, 1}
    assert not made.model[0]._forward_hooks


def test_backbones_of_every_source_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = backbone(dropout)
    source = replace(backbones.BACKBONES.get("tiny_cnn"), build=lambda request: made)
    monkeypatch.setattr("harness.backbones.registry._source", lambda name: source)
    monkeypatch.setitem(backbones.PREFIXES.entries, "mine", backbones.Prefix(lambda request: made))
    for spec in ("tiny_cnn", "mine:one"):
        with pytest.raises(UserError, match="is random"):
            backbones.load(spec)
        assert backbones.build(spec) is made


@pytest.mark.parametrize("state", range(40))
def test_the_verdict_does_not_depend_on_earlier_draws(state: int) -> None:
    """The four features of one image have the same mask in two passes in 1 of 16 random states."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state)
        with pytest.raises(UserError, match="is random"):
            check_loaded(backbone(dropout))
