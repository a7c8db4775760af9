"""Targeted probe perturbation: planted directions, units without targets, closed forms, and what is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import methods
from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.check.world import CheckWorld, small_world
from harness.errors import UserError
from harness.metrics.base import Outcome, Score
from harness.metrics.tpp import (
    TargetedProbePerturbation,
    balanced_accuracies,
    frequent_classes,
    ranked_by_effect,
    unit_directions,
)

N_CLASSES, WIDTH = 5, 12


class Linear:
    """A method whose units add their directions (n_units, d_out) to the output."""

    spec = SimpleNamespace(reads="output", name="linear", virtual=False)
    parents = None
    decode_reads_input = False

    def __init__(self, directions: Tensor) -> None:
        self.directions, self.n_units = directions, len(directions)

    def reconstruct(self, codes: Tensor, x: Tensor) -> Tensor:
        return codes @ self.directions + 3.0


def planted(n: int, seed: int, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (n, n_units), outputs (n, d) and labels: the units 2c and 2c + 1 are active on images of the class c."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
    codes = 0.1 * torch.rand(n, len(directions), generator=generator)
    for unit in (0, 1):
        codes[torch.arange(n), 2 * labels + unit] += 1
    return codes, codes @ directions, labels


def measure(directions: Tensor, train: tuple[Tensor, ...], test: tuple[Tensor, ...]) -> dict[str, Score]:
    sides = [LabelledCodes(torch.arange(len(y)), y, x, a, x, a, len(y)) for x, a, y in (train, test)]
    images = [SimpleNamespace(labels=y.numpy()) for *_, y in (test, train)]
    site = SimpleNamespace(d_out=WIDTH, d_in=WIDTH)
    passes = SimpleNamespace(site=site, backbone=SimpleNamespace(device=torch.device("cpu")))
    baseline: Any = SimpleNamespace(images=images[0], probing=SimpleNamespace(images=images[1]), passes=passes)
    method: Any = Linear(directions)
    assert TargetedProbePerturbation.applies(method, baseline)
    units: Any = None
    outcome = Outcome(method, units, baseline, WIDTH, image_codes=ImageCodes(*sides))
    return {score.metric: score for score in TargetedProbePerturbation(baseline).compute(outcome)}


def drawn_directions(n_units: int, seed: int = 0) -> Tensor:
    return torch.randn(n_units, WIDTH, generator=torch.Generator().manual_seed(seed)) / WIDTH**0.5


def test_units_with_a_class_of_their_own_lower_its_probe_alone() -> None:
    directions = torch.eye(WIDTH)
    scores = measure(directions, planted(300, 0, directions), planted(200, 1, directions))
    assert list(scores) == ["tpp", "tpp_2", "tpp_5", "tpp_random"]
    main, random = scores["tpp_2"], scores["tpp_random"]
    assert main.n == N_CLASSES and main.uncertainty_kind == "classes"
    # Both units of a class are taken away: its probe is at chance, and the others as before.
    assert main.value == pytest.approx(0.5, abs=0.05)
    assert random.value < 0.2 * main.value
    details = scores["tpp"].details
    # Two of the twelve coordinates, of which the class has both large ones.
    assert details is not None and details["falls"]["2"]["size"] < details["falls"]["5"]["size"] < 1
    assert details is not None and details["accuracy"] > 0.99 and details["falls"]["2"]["others"] == pytest.approx(0)


def test_a_count_matched_random_control_is_at_zero() -> None:
    """The same codes on other images, and outputs that do not depend on them."""
    directions = drawn_directions(40)
    codes, outputs, labels = planted(300, 0, directions)
    test_codes, test_outputs, test_labels = planted(200, 1, directions)
    generator = torch.Generator().manual_seed(2)
    shuffled = measure(
        directions,
        (codes[torch.randperm(300, generator=generator)], outputs, labels),
        (test_codes[torch.randperm(200, generator=generator)], test_outputs, test_labels),
    )
    truth = measure(directions, (codes, outputs, labels), (test_codes, test_outputs, test_labels))
    error = shuffled["tpp_2"].uncertainty
    assert error is not None and abs(shuffled["tpp_2"].value) < 3 * error + 0.02
    assert truth["tpp_2"].value > 5 * abs(shuffled["tpp_2"].value)


def test_two_classes_have_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each probe is the opposite of the other, so both fall alike whatever is ablated."""
    directions = torch.eye(WIDTH)
    for n, names in ((2, []), (3, ["tpp", "tpp_2", "tpp_5", "tpp_random"])):
        monkeypatch.setattr(f"{__name__}.N_CLASSES", n)
        assert list(measure(directions, planted(300, 0, directions), planted(200, 1, directions))) == names


def test_decoders_that_read_the_input_and_silent_units_are_left_out() -> None:
    reading: Any = SimpleNamespace(spec=Linear.spec, n_units=3, decode_reads_input=True)
    images = SimpleNamespace(labels=torch.arange(6).numpy() % 3)
    baseline: Any = SimpleNamespace(images=images, probing=SimpleNamespace(images=images))
    assert not TargetedProbePerturbation.applies(reading, baseline)
    reading.decode_reads_input = False
    assert TargetedProbePerturbation.applies(reading, baseline)
    directions = torch.eye(WIDTH)
    codes, outputs, labels = planted(300, 0, directions)
    assert measure(directions, (-codes, outputs, labels), planted(200, 1, directions)) == {}


def test_parts_in_closed_form() -> None:
    x, labels = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]]).double(), torch.tensor([0, 0, 1, 0])
    weights, biases = torch.tensor([[1.0], [-1.0]]).double(), torch.zeros(2).double()
    # The class 0: two of three, and one of one; the class 1: one of one, and two of three.
    assert balanced_accuracies(x, labels, [0, 1], weights, biases).tolist() == pytest.approx([5 / 6, 5 / 6])
    codes = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
    side = LabelledCodes(torch.arange(2), torch.tensor([0, 1]), codes, codes, codes, codes, 2)
    directions, probe = torch.eye(3).double(), torch.tensor([[1.0, 1.0, 5.0], [1.0, 1.0, 5.0]]).double()
    assert ranked_by_effect(side, [0, 1], directions, probe).tolist() == [[0, 2, 1], [1, 2, 0]]
    many = torch.arange(25).repeat_interleave(4)
    rows = LabelledCodes(torch.arange(100), many, *(torch.zeros(100, 1),) * 4, n_images=100)
    assert frequent_classes(rows, rows) == list(range(20))
    rare = LabelledCodes(torch.arange(2), torch.tensor([0, 1]), *(torch.zeros(2, 1),) * 4, n_images=2)
    assert frequent_classes(rows, rare) == []


def test_directions_of_units_are_those_of_the_decoder() -> None:
    with small_world() as world:
        for name, config in (
            ("topk_sae", {"expansion_factor": 2, "k": 4, "epochs": 1}),
            ("random_split", {"parts": 2}),
        ):
            method = methods.create(name, **config).fit(world.tokens, world.site, seed=0)
            directions = unit_directions(method, world.baseline)
            assert directions.shape == (method.n_units, world.site.d_out)
            codes = torch.randn(6, method.n_units, generator=torch.Generator().manual_seed(0))
            x = torch.zeros(6, world.site.d_in if method.spec.reads == "input" else world.site.d_out)
            base = method.reconstruct(torch.zeros_like(codes), x).double()
            expected = method.reconstruct(codes, x).double() - base
            torch.testing.assert_close(codes.double() @ directions, expected, rtol=1e-4, atol=1e-5)
        _refused(world)


def _refused(world: CheckWorld) -> None:
    class Bent(Linear):
        def reconstruct(self, codes: Tensor, x: Tensor) -> Tensor:
            return (codes @ self.directions) ** 2

    method: Any = Bent(torch.randn(5, world.site.d_out, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(UserError, match="its decoder is not linear"):
        unit_directions(method, world.baseline)
