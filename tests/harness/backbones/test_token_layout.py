"""Counts of prefix tokens from a model's parameters, and the grids that its tokens can form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.backbones.token_layout import closed_under_halving, cls_tokens, prefix_tokens, square_maps


def model(**shapes: tuple[int, ...]) -> nn.Module:
    """A model with one parameter per name; "__" stands for a dot."""
    root = nn.Module()
    for name, shape in shapes.items():
        *modules, last = name.split("__")
        parent = root
        for part in modules:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.register_parameter(last, nn.Parameter(torch.zeros(shape)))
    return root


@pytest.mark.parametrize(
    ("shapes", "cls", "prefix"),
    [
        ({}, 0, 0),
        ({"cls_token": (1, 1, 8)}, 1, 1),
        ({"cls_token": (1, 2, 8)}, 2, 2),  # distilled PiT keeps both tokens in one parameter
        ({"embeddings__class_embedding": (8,)}, 1, 1),  # CLIP
        ({"cls_token_0": (1, 1, 8), "cls_token_1": (1, 1, 6)}, 1, 1),  # one per branch of CrossViT
        ({"cls_token1": (1, 1, 8), "cls_token2": (1, 1, 8), "cls_token3": (1, 1, 8)}, 1, 1),  # one per stage of CoaT
        ({"cls_token": (1, 1, 8), "dist_token": (1, 1, 8)}, 1, 2),
        ({"cls_token": (1, 1, 8), "register_tokens": (1, 4, 8), "mask_token": (1, 1, 8)}, 1, 5),
        ({"reg_token": (1, 4, 8)}, 0, 4),
        ({"head__cls_token": (1, 1, 8)}, 0, 0),  # AIMv2: the query of an attention pool
        ({"detection_tokens": (1, 100, 8), "cls_token": (1, 1, 8)}, 1, 1),  # YOLOS appends them
    ],
)
def test_prefix_tokens_are_counted_from_parameters(shapes: dict[str, tuple[int, ...]], cls: int, prefix: int) -> None:
    assert (cls_tokens(model(**shapes)), prefix_tokens(model(**shapes))) == (cls, prefix)


def test_the_number_stated_by_timm_is_preferred() -> None:
    net = model(cls_token=(1, 1, 8))
    net.num_prefix_tokens = 3
    assert prefix_tokens(net) == 3


def test_grids_halve_with_both_roundings() -> None:
    assert closed_under_halving({27}) == {27, 14, 13, 7, 6, 4, 3, 2, 1}
    assert closed_under_halving({8}) == {8, 4, 2, 1} and closed_under_halving(set()) == frozenset()


def test_square_maps_leave_out_attention_maps_and_parts_of_images() -> None:
    net = nn.ModuleList([nn.Conv2d(3, 2, 4, stride=4), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 3)])
    with square_maps(net, 2) as sides:
        net[0](torch.zeros(2, 3, 16, 16))
        net[0](torch.zeros(2, 3, 16, 12))
        net[1](torch.zeros(2, 3, 9, 9))
        net[2](torch.zeros(8, 3, 8, 8))
    assert sides == {4}
    net[2](torch.zeros(2, 3, 8, 8))
    assert sides == {4}, "the hooks are removed"
