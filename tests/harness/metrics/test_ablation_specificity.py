"""Specificity of ablations: closed forms, units that one class reads or that all classes read, and what is skipped."""

from __future__ import annotations

import math
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
from harness.errors import ArgumentError
from harness.metrics.ablation_specificity import AblationSpecificity, class_specificity
from harness.metrics.base import Outcome, Score
from methods.base import Method


def test_closed_forms() -> None:
    one, all_, common = torch.zeros(6), torch.tensor([1.0, -1, 1, -1, 1, -1]), torch.full((6,), 3.0)
    one[2] = 5
    two = torch.tensor([0.0, 2.0, 0, -2.0, 0, 0])
    values = class_specificity(torch.stack([one, all_, common, two, one + common])).tolist()
    assert values == pytest.approx([1, 0, math.nan, 1 - 1 / 5, 1], nan_ok=True)
    drawn = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    assert float(class_specificity(drawn).mean()) == pytest.approx(1 - 2 / math.pi, abs=0.01)
    for shape in ((3,), (3, 2)):
        with pytest.raises(ArgumentError, match="must have the shape"):
            class_specificity(torch.zeros(shape))


@pytest.fixture(scope="module")
def world() -> Any:
    with small_world() as made:
        yield made


def measure(method: Method, baseline: Baseline) -> tuple[dict[str, Score], Outcome]:
    outcome = Outcome(method, passed_units(method, baseline), baseline, baseline.passes.site.d_out)
    assert AblationSpecificity.applies(method, baseline)
    return {score.metric: score for score in AblationSpecificity(baseline).compute(outcome)}, outcome


def with_head(world: CheckWorld, weight: Tensor) -> Baseline:
    """Return the baseline with another head, (n_classes, d_out), and its logits."""
    head: Any = SimpleNamespace(logits=lambda features: features @ weight.T)
    baseline = world.baseline
    with torch.inference_mode():
        logits = torch.cat([head.logits(passed.features) for passed in baseline.passes.run(lambda q, a: None)])
    return replace(baseline, head=head, logits=logits.numpy())


def test_neurons_that_one_class_reads_are_specific_and_others_are_not(world: CheckWorld) -> None:
    """The head is linear in the pooled, rectified neurons: class c reads the neuron c alone, or every class all."""
    neurons = methods.create("identity").fit(world.tokens, world.site)
    width = world.site.d_out
    single, outcome = measure(neurons, with_head(world, torch.eye(width)))
    generator, signs = torch.Generator().manual_seed(0), torch.tensor([1.0, -1.0]).repeat(width // 2)
    spread = torch.stack([signs[torch.randperm(width, generator=generator)] for _ in range(width)], 1)
    every, _ = measure(neurons, with_head(world, spread))
    assert single["ablation_specificity"].value == pytest.approx(1, abs=1e-4)
    assert every["ablation_specificity"].value == pytest.approx(0, abs=1e-4)
    gain = single["ablation_specificity_gain"]
    assert gain.uncertainty is not None and gain.value > 3 * gain.uncertainty
    assert gain.value == pytest.approx(1 - single["ablation_specificity_control"].value, abs=1e-4)
    assert single["ablation_effect"].value > 0 and single["ablation_effect"].unit == "logits"
    again, _ = measure(neurons, with_head(world, torch.eye(width)))
    assert {name: score.value for name, score in again.items()} == {name: score.value for name, score in single.items()}
    assert outcome.notes == []


def test_an_ablation_by_hand(world: CheckWorld) -> None:
    """A neuron whose output is set to zero before the network continues."""
    baseline = with_head(world, torch.eye(world.site.d_out)[:5])
    neurons = methods.create("identity").fit(world.tokens, world.site)
    statistics = passed_units(neurons, baseline)
    outcome = Outcome(neurons, statistics, baseline, world.site.d_out)
    unit = int((statistics.top_value > 0).sum(0)[:5].argmax())
    ablated = AblationSpecificity(baseline)._ablate(outcome, unit)
    images = statistics.top_image[statistics.top_value[:, unit] > 0, unit][:8].sort().values

    def without(q: Tensor, a: Tensor) -> Tensor:
        changed = a.clone()
        changed[..., unit] = 0
        return changed

    with torch.inference_mode():
        logits = torch.cat(
            [baseline.head.logits(passed.features) for passed in baseline.passes.of_images(images.numpy()).run(without)]
        )
    expected = (logits.double() - baseline.clean_logits(images).double()).mean(0)
    torch.testing.assert_close(ablated.unit, expected, rtol=1e-4, atol=1e-6)
    assert int(ablated.unit.abs().argmax()) == unit and ablated.size > 0


def test_the_size_of_batches_does_not_matter(world: CheckWorld) -> None:
    """The control of an image in a batch of one would be no change at all."""
    neurons = methods.create("identity").fit(world.tokens, world.site)
    baseline = with_head(world, torch.randn(7, world.site.d_out, generator=torch.Generator().manual_seed(0)))
    expected, _ = measure(neurons, baseline)
    for size in (1, 3, 16):
        scores, _ = measure(neurons, replace(baseline, passes=replace(baseline.passes, batch_size=size)))
        for name, score in expected.items():
            assert scores[name].value == pytest.approx(score.value, abs=1e-4), (size, name)


def test_units_without_effect_and_layers_without_classes_are_left_out(world: CheckWorld) -> None:
    neurons = methods.create("identity").fit(world.tokens, world.site)
    deaf = with_head(world, torch.zeros(4, world.site.d_out))
    scores, outcome = measure(neurons, deaf)
    assert scores == {} and outcome.notes == ["No specificity of ablations: no ablation changes a logit."]
    virtual: Any = SimpleNamespace(spec=SimpleNamespace(virtual=True), n_units=4)
    assert not AblationSpecificity.applies(virtual, world.baseline)
    two = replace(world.baseline, logits=world.baseline.logits[:, :2])
    assert not AblationSpecificity.applies(neurons, two)
