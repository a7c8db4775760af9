"""Spurious-correlation removal on planted layers, where the attribute is one of the planted concepts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import methods
from harness import backbones
from harness.activations.linear_site import LinearLayerSite
from harness.activations.pooled_codes import LabelledCodes
from harness.check.world import SmallTokens
from harness.metrics.scr import LEAST_GAP, both_views, cases_of, removed
from harness.metrics.tpp import unit_directions
from harness.planted.world import World, world
from methods.base import Method

N_PROBING, CONCEPTS, N_ABLATED = 280, (0, 6), 5


class Share(NamedTuple):
    attribute: float
    """share of the gap that goes with the units of the attribute"""
    random: float
    """the same with random units"""


def split(of: World) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(of.inputs), generator=torch.Generator().manual_seed(0))
    return order[:N_PROBING].sort().values, order[N_PROBING:].sort().values


def codes_of(method: Method, of: World, q: Tensor, images: Tensor) -> LabelledCodes:
    a = q @ of.weight.T + of.bias
    x = q if method.spec.reads == "input" else a
    codes = method.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return LabelledCodes(images, of.main[images], codes.amax(1), a.amax(1), codes.mean(1), a.mean(1), len(of.inputs))


def share(of: World, name: str, **config: Any) -> Share:
    """Fit a method on a planted layer and measure the share of the gap that it removes.

    The attribute is a concept with strength 1 on half of an image's tokens. Images of its class are left out.
    """
    backbone = backbones.load(f"planted:{of.name}")
    site = LinearLayerSite(backbone.model, "units")
    sides, n_tokens = split(of), of.setting.n_tokens
    q = of.inputs[sides[0]]
    tokens = SmallTokens(
        q.flatten(0, 1),
        (q @ of.weight.T + of.bias).flatten(0, 1),
        np.repeat(np.arange(len(q)), n_tokens),
        np.tile(np.arange(n_tokens), len(q)),
        np.repeat(of.main[sides[0]].numpy(), n_tokens),
    )
    method = methods.create(name, **config).fit(tokens, site, seed=42)
    baseline: Any = SimpleNamespace(passes=SimpleNamespace(site=site, backbone=backbone))
    directions = unit_directions(method, baseline)
    cases = []
    for concept in CONCEPTS:
        drawn = torch.rand(len(of.inputs), n_tokens, 1, generator=torch.Generator().manual_seed(concept))
        marked = of.inputs + (drawn < 0.5) * of.patterns[concept]
        views = []
        for images in sides:
            kept = images[of.main[images] != concept]
            views.append(both_views(*(codes_of(method, of, q[kept], kept) for q in (of.inputs, marked))))
        alive = (views[0].codes > 0).any(0).nonzero()[:, 0]
        cases += list(cases_of(f"concept {concept}", views[0], views[1], directions, alive, [N_ABLATED]))
    cases = [case for case in cases if case.gap >= LEAST_GAP]
    assert len(cases) >= 10
    values = ([case.ablated[N_ABLATED] for case in cases], [case.random[N_ABLATED] for case in cases])
    return Share(*(float(removed(cases, accuracies).mean()) for accuracies in values))


@pytest.mark.parametrize(
    ("spec", "chance", "least"),
    [
        ("three_concepts@0", ("random_split", {"parts": 3}), 0.9),
        ("superposition@0", ("random_dictionary", {"expansion_factor": 1.6667, "k": 10}), 0.7),
    ],
)
def test_true_units_remove_a_planted_attribute_and_as_many_random_ones_less(
    spec: str, chance: tuple[str, dict[str, Any]], least: float
) -> None:
    of = world(spec)
    truth, collapsed, control = share(of, "oracle"), share(of, "collapsed"), share(of, chance[0], **chance[1])
    assert truth.attribute > least
    assert truth.attribute > control.attribute + 0.15
    assert truth.attribute > collapsed.attribute + 0.5
    assert max(truth.random, control.random) < 0.1
