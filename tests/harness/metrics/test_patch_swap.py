"""Patch swaps: pixels in closed form, a network that reads each patch alone, planted units and random ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from passed_units import passed_units
from torch import Tensor

import methods
from harness.activations.baseline import Baseline
from harness.check.world import CheckWorld, small_world
from harness.metrics.base import Outcome, Score
from harness.metrics.patch_swap import SWAPS, PatchSwap, Swap, swapped
from methods.base import Method


@pytest.fixture(scope="module")
def world() -> Any:
    with small_world() as made:
        yield made


def measure(method: Method, baseline: Baseline) -> tuple[dict[str, Score], Outcome]:
    outcome = Outcome(method, passed_units(method, baseline), baseline, baseline.passes.site.d_out)
    assert PatchSwap.applies(method, baseline)
    return {score.metric: score for score in PatchSwap(baseline).compute(outcome)}, outcome


def test_pixels_of_a_swap() -> None:
    pixels = {0: torch.zeros(3, 6, 6), 4: torch.arange(36.0).reshape(1, 6, 6).repeat(3, 1, 1) + 1}
    image = swapped(pixels, Swap(0, 1, (4, 8)), 3)
    assert torch.equal(image[:, :2, 2:4], pixels[4][:, 4:, 4:]) and int((image != 0).sum()) == 12
    moved = swapped(pixels, Swap(4, 0, (4, 8), grey=4), 3)
    assert torch.equal(moved[:, :2, :2], pixels[4][:, 4:, 4:]) and bool((moved[:, 2:4, 2:4] == 0).all())
    assert int((moved != pixels[4]).any(0).sum()) == 8 and bool((pixels[4] > 0).all()), "the images are not changed"
    assert bool((swapped(pixels, Swap(4, 2, None), 3)[:, :2, 4:] == 0).all())
    # A grid whose cells differ in size.
    assert swapped({0: torch.zeros(3, 7, 7), 1: torch.ones(3, 7, 7)}, Swap(0, 1, (1, 0)), 3).sum() > 0


def test_of_a_network_that_reads_each_patch_alone(world: CheckWorld) -> None:
    """The swapped patch's code is that of its source, so retention follows from the stored codes."""
    neurons = methods.create("identity").fit(world.tokens, world.site)
    scores, outcome = measure(neurons, world.baseline)
    assert list(scores) == ["patch_swap", *(f"patch_swap_{name}" for name in SWAPS)]
    assert all(0 <= scores[f"patch_swap_{name}"].value <= 1 for name in SWAPS)
    assert scores["patch_swap_ablate_elsewhere"].value == pytest.approx(1, abs=1e-5)
    difference = scores["patch_swap_aligned"].value - scores["patch_swap_non_aligned"].value
    assert scores["patch_swap"].value == pytest.approx(difference) and difference > 0
    metric = PatchSwap(world.baseline)
    codes = torch.cat([tokens.a for tokens in world.baseline.passes.tokens(world.baseline.index)])
    for unit in (0, 3):
        image, other = 1, 5
        position = int(codes[image, :, unit].argmax())
        source = int(codes[other, :, unit].argmax())
        before, after = metric._codes(
            neurons, unit, [Swap(image, position, (other, source)), Swap(image, position, None)]
        )
        rest = codes[image, :, unit].clone()
        rest[position] = codes[other, source, unit]
        if codes[image, position, unit] > 0:
            assert float(before[0]) == pytest.approx(float(codes[image, position, unit]), rel=1e-4)
        assert float(after[0]) == pytest.approx(float(rest.max()), rel=1e-4, abs=1e-5)
    assert outcome.notes == []


class Shuffled:
    """Codes of another method at tokens that are chosen by the hash of the token: the same numbers, without meaning."""

    spec = SimpleNamespace(reads="output", virtual=False, name="shuffled")
    parents = None

    def __init__(self, codes: Tensor) -> None:
        self.codes, self.n_units = codes, codes.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        number = (x.double().sum(1) * 1e4).round().long() % len(self.codes)
        return self.codes[number]


def test_any_function_of_the_patch_keeps_its_code(world: CheckWorld) -> None:
    """So the metric cannot tell units with a meaning from a count-matched random control: it is about locality."""
    tokens = torch.cat([each.a for each in world.baseline.passes.tokens(world.baseline.index)]).flatten(0, 1)
    generator = torch.Generator().manual_seed(0)
    random: Any = Shuffled(tokens[torch.randperm(len(tokens), generator=generator)])
    control, _ = measure(random, world.baseline)
    error = control["patch_swap"].uncertainty
    assert error is not None and control["patch_swap"].value > 3 * error


def test_layers_without_a_grid_and_units_without_images_are_left_out(world: CheckWorld) -> None:
    neurons = methods.create("identity").fit(world.tokens, world.site)
    site: Any = SimpleNamespace(positions=lambda n: torch.full((n,), -1))
    baseline: Any = SimpleNamespace(passes=SimpleNamespace(site=site), n_tokens=1)
    assert not PatchSwap.applies(neurons, baseline)
    silent: Any = Shuffled(torch.full((4, 3), -1.0))
    scores, outcome = measure(silent, replace(world.baseline))
    assert scores == {} and "No patch swaps" in outcome.notes[0]
