"""Removal of a spurious attribute on planted layers, where the attribute is a planted concept: does ``scr`` find it?

    python benchmarks/planted_attributes.py                          # the thirteen layers of docs/probing.md, a minute
    python benchmarks/planted_attributes.py three_concepts@0 noisy@1

The attribute is a concept with strength 1 on half of an image's tokens, added to the layer's inputs. Images of its
class are left out. Compared are the truth, a collapsed truth, and chance: a random split into as many parts or a random
dictionary of as many units, of which as many are active. For each, the share of the bias that goes with the units of
the attribute, and with as many random units.

Fails if chance removes more than the truth on a layer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from _report import report
from torch import Tensor

import methods
from harness import backbones
from harness.activations.linear_site import LinearLayerSite
from harness.activations.pooled_codes import LabelledCodes
from harness.check.world import SmallTokens
from harness.metrics.scr import LEAST_GAP, NS, Case, both_views, cases_of, removed
from harness.metrics.tpp import unit_directions
from harness.planted.world import LARGEST, World, world
from harness.stats.log_mean import log_weights
from methods.base import Method

N_PROBING, CONCEPTS = 280, (0, 3, 6, 9)
#: Layers of the suite "planted" whose inputs are planted.
LAYERS = (
    *(
        f"{name}@{seed}"
        for name in ("two_concepts", "three_concepts", "noisy", "unequal", "correlated")
        for seed in (0, 1)
    ),
    *(f"superposition@{seed}" for seed in (0, 1, 2)),
)


class Removed(NamedTuple):
    """Shares of the bias that go, means over log n."""

    attribute: float
    """with the units of the attribute"""
    by_n: tuple[float, ...]
    """the same for each n"""
    random: float
    """with as many random units"""


def chance_of(of: World) -> tuple[str, dict[str, Any]]:
    """Return the name and settings of the method with the counts of the truth, whose units are random."""
    if of.setting.superposed:
        return "random_dictionary", {"expansion_factor": 1.6667, "k": 10}
    return "random_split", {"parts": of.setting.mixed}


def cases(of: World, name: str, config: dict[str, Any], concepts: Iterable[int], ns: Sequence[int]) -> list[Case]:
    """Fit a method on a planted layer, and return the biased probes whose gap is large enough."""
    backbone = backbones.load(f"planted:{of.name}")
    site = LinearLayerSite(backbone.model, "units")
    order = torch.randperm(len(of.inputs), generator=torch.Generator().manual_seed(0))
    splits = order[:N_PROBING].sort().values, order[N_PROBING:].sort().values
    method = methods.create(name, **config).fit(_tokens(of, splits[0]), site, seed=42)
    baseline: Any = SimpleNamespace(passes=SimpleNamespace(site=site, backbone=backbone))
    directions = unit_directions(method, baseline)
    made: list[Case] = []
    for concept in concepts:
        marked = (of.inputs + _on_half(of, concept) * of.patterns[concept]).clamp_max(LARGEST)
        views = []
        for images in splits:
            kept = images[of.main[images] != concept]
            views.append(both_views(*(_codes(method, of, q[kept], kept) for q in (of.inputs, marked))))
        alive = (views[0].codes > 0).any(0).nonzero()[:, 0]
        made += cases_of(f"concept {concept}", views[0], views[1], directions, alive, ns)
    return [case for case in made if case.gap >= LEAST_GAP]


def removal(of: World, name: str, config: dict[str, Any], concepts: Iterable[int], ns: Sequence[int] = NS) -> Removed:
    """Return what a method removes of the bias by planted concepts; NaN without a large enough gap."""
    usable, shares = cases(of, name, config, concepts, ns), log_weights(ns)
    if not usable:
        return Removed(float("nan"), (), float("nan"))
    by_n = [float(removed(usable, [case.ablated[n] for case in usable]).mean()) for n in ns]
    random = [float(removed(usable, [case.random[n] for case in usable]).mean()) for n in ns]
    return Removed(float(np.dot(shares, by_n)), tuple(by_n), float(np.dot(shares, random)))


def _tokens(of: World, images: Tensor) -> SmallTokens:
    q, n_tokens = of.inputs[images], of.setting.n_tokens
    return SmallTokens(
        q.flatten(0, 1),
        (q @ of.weight.T + of.bias).flatten(0, 1),
        np.repeat(np.arange(len(q)), n_tokens),
        np.tile(np.arange(n_tokens), len(q)),
        np.repeat(of.main[images].numpy(), n_tokens),
    )


def _on_half(of: World, concept: int) -> Tensor:
    """Return (n_images, T, 1) float32: 1 on half of the tokens."""
    drawn = torch.rand(len(of.inputs), of.setting.n_tokens, 1, generator=torch.Generator().manual_seed(concept))
    return (drawn < 0.5).float()


def _codes(method: Method, of: World, q: Tensor, images: Tensor) -> LabelledCodes:
    a = q @ of.weight.T + of.bias
    x = q if method.spec.reads == "input" else a
    codes = method.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return LabelledCodes(images, of.main[images], codes.amax(1), a.amax(1), codes.mean(1), a.mean(1), len(of.inputs))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layers", nargs="*", default=LAYERS, help="planted layers, SETTING@SEED")
    worse = []
    for name in parser.parse_args().layers:
        of = world(name)
        control, config = chance_of(of)
        truth, collapsed = (removal(of, row, {}, CONCEPTS) for row in ("oracle", "collapsed"))
        chance = removal(of, control, config, CONCEPTS)
        rows = {"truth": truth, "collapsed": collapsed, "chance": chance}
        print(
            f"{name}: "
            + "; ".join(
                f"{row} {value.attribute:.3f} ({', '.join(f'{share:.2f}' for share in value.by_n)}), random units "
                f"{value.random:.2f}"
                for row, value in rows.items()
            ),
            flush=True,
        )
        report(f"bias that remains, truth / chance, {name}", (1 - truth.attribute) / (1 - chance.attribute))
        if not truth.attribute > chance.attribute:
            worse.append(name)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
