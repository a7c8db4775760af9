"""Absorption: values of ViSAEBench, planted hierarchies with and without absorption, chance, and what is left out."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.datasets.hierarchy import ClassHierarchy
from harness.errors import ArgumentError
from harness.metrics.absorption import Absorption, absorption_rate, parent_units, youden_threshold
from harness.metrics.base import Outcome, Score

#: Four parents of three classes each; unit p of the first four is that of the parent p, unit 4 + c that of the class c.
PARENTS, CHILDREN = 4, 3
N_CLASSES = PARENTS * CHILDREN
GROUPS = {str(parent): [CHILDREN * parent + child for child in range(CHILDREN)] for parent in range(PARENTS)}


def siblings(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Codes (n, 30) without ties, whose first units follow the classes, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
    codes = torch.rand(n, 30, generator=generator)
    codes[torch.arange(n), labels] += torch.rand(n, generator=generator)
    codes[torch.arange(n), 15 + labels // CHILDREN] += 0.8 * torch.rand(n, generator=generator)
    return codes, labels


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        # Printed by visaebench 0.1.0: FeatureAbsorption().compute(..., sibling_groups=GROUPS): rate, mean_overlap and
        # mean_f1_gap.
        (0, (0.583333, 0.409417, 0.128889)),
        (1, (0.75, 0.452839, 0.152313)),
    ],
)
def test_values_are_those_of_visaebench(seed: int, expected: tuple[float, ...]) -> None:
    codes, labels = siblings(240, seed)
    measured = absorption_rate(codes, labels, GROUPS)
    assert (measured.rate, measured.overlap, measured.f1_gap) == pytest.approx(expected, abs=1e-4)
    assert measured.n == N_CLASSES


def test_small_groups_are_left_out_and_mistakes_answered() -> None:
    codes, labels = siblings(240, 0)
    assert absorption_rate(codes, labels, {"pair": [0, 1]}).n == 0
    assert math.isnan(absorption_rate(codes, labels, {}).rate)
    with pytest.raises(ArgumentError, match="must have the shapes"):
        absorption_rate(codes, labels[:3], GROUPS)
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        absorption_rate(codes / 0, labels, GROUPS)


def test_the_threshold_has_the_largest_difference_of_rates() -> None:
    values, members = torch.tensor([0.9, 0.8, 0.8, 0.3, 0.1]), torch.tensor([True, True, False, True, False])
    # Above 0.8: 1/3 and 0; above 0.3: 2/3 and 1/2; above 0.1: 1 and 1/2.
    assert youden_threshold(values, members) == pytest.approx(0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        values = torch.randint(0, 6, (30,), generator=generator).float()
        members = torch.rand(30, generator=generator) < 0.4
        chosen = youden_threshold(values, members)
        gains = {
            float(t): float(
                ((values > t) & members).sum() / members.sum() - ((values > t) & ~members).sum() / (~members).sum()
            )
            for t in [-1.0, *values.unique().tolist()]
        }
        assert gains[max(chosen, -1.0)] == pytest.approx(max(gains.values()))


def planted(n: int, seed: int, *, absorbed: int = 0, meaning: bool = True) -> tuple[Tensor, Tensor]:
    """Codes of the units of parents and classes; the parents' units are silent on the first ``absorbed`` children."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
    codes = 0.2 * torch.rand(n, PARENTS + N_CLASSES + 10, generator=generator)
    rows = torch.arange(n)
    spoken = labels % CHILDREN >= absorbed
    codes[rows[spoken], (labels // CHILDREN)[spoken]] += 1
    codes[rows, PARENTS + labels] += 1
    return (codes if meaning else codes[torch.randperm(n, generator=generator)]), labels


def measure(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], parent_of: tuple[int, ...]) -> dict[str, Score]:
    parents = tuple(f"parent {number}" for number in range(1 + max(parent_of)))
    hierarchy = ClassHierarchy(parents, parent_of, (-1,) * len(parents))
    codes = [LabelledCodes(torch.arange(len(y)), y, x, x[:, :3], x, x[:, :3], len(y)) for x, y in (train, test)]
    images = [SimpleNamespace(labels=y.numpy(), class_hierarchy=hierarchy) for _, y in (test, train)]
    baseline: Any = SimpleNamespace(images=images[0], probing=SimpleNamespace(images=images[1]))
    method: Any = SimpleNamespace(n_units=train[0].shape[1], parents=None)
    assert Absorption.applies(method, baseline)
    metric, units = Absorption(baseline), None
    assert metric.params == {"hierarchy": hierarchy.fingerprint}
    outcome = Outcome(method, units, baseline, 3, image_codes=ImageCodes(*codes))  # type: ignore[arg-type]
    return {score.metric: score for score in metric.compute(outcome)} | {"notes": outcome.notes}  # type: ignore[dict-item]


PARENT_OF = tuple(number // CHILDREN for number in range(N_CLASSES))


def test_units_of_parents_that_miss_no_class_have_no_absorption() -> None:
    scores = measure(planted(400, 0), planted(300, 1), PARENT_OF)
    assert scores["absorption"].value == 0 and scores["absorption"].n == N_CLASSES
    assert scores["absorption"].details is not None and scores["absorption"].details["parent_auroc"] == 1
    assert scores["absorption"].details["n_parents"] == PARENTS


def test_absorbed_classes_are_found_and_more_than_by_chance() -> None:
    """One of three classes of each parent: its images, a third, are absorbed."""
    scores = measure(planted(400, 0, absorbed=1), planted(300, 1, absorbed=1), PARENT_OF)
    value, excess = scores["absorption"], scores["absorption_excess"]
    assert value.value == pytest.approx(1 / 3, abs=0.02) and scores["absorption_missed"].value >= value.value
    assert value.uncertainty_kind == "classes, clustered by parent" and excess.uncertainty is not None
    assert excess.value == pytest.approx(value.value - scores["absorption_null"].value)
    assert excess.value > 3 * excess.uncertainty


def test_units_without_meaning_have_no_more_than_permuted_labels() -> None:
    """A count-matched control: the same codes, on other images."""
    scores = measure(planted(400, 0, absorbed=1, meaning=False), planted(300, 1, absorbed=1, meaning=False), PARENT_OF)
    excess = scores["absorption_excess"]
    assert excess.uncertainty is not None and abs(excess.value) < 3 * excess.uncertainty + 0.02
    assert scores["absorption"].details is not None and scores["absorption"].details["parent_auroc"] < 0.6


def test_parents_without_two_frequent_classes_are_left_out() -> None:
    train, test = planted(400, 0), planted(300, 1)
    rare = test[1] % CHILDREN != 0
    few = measure(train, (test[0][~rare], test[1][~rare]), PARENT_OF)
    assert list(few) == ["notes"] and "No absorption: no parent has two classes" in few["notes"][0]
    # One parent above all classes: nothing is beside it.
    alone = (*(0,) * (N_CLASSES - 4), 1, 1, 1, 1)
    assert measure(train, test, alone)["absorption"].n == N_CLASSES
    everything = measure(train, test, (*(0,) * 6, *(1,) * 6))
    assert everything["absorption"].details is not None and everything["absorption"].details["n_parents"] == 2


def test_classes_of_a_parent_below_are_not_beside_it() -> None:
    """Dogs 0 and 1, and terriers 2 and 3, which are dogs; unit 0 is that of all four, and 3 + c that of class c."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (600,), generator=generator)
    codes = 0.2 * torch.rand(600, 12, generator=generator)
    for unit, classes in enumerate(((0, 1, 2, 3), (2, 3), (4, 5))):
        codes[torch.isin(labels, torch.tensor(classes)), unit] += 1
    codes[torch.arange(600), 3 + labels] += 1
    hierarchy = ClassHierarchy(("cat", "dog", "terrier"), (1, 1, 2, 2, 0, 0), (-1, -1, 1))
    side = LabelledCodes(torch.arange(600), labels, *(codes,) * 4, n_images=600)
    members = torch.from_numpy(hierarchy.members)
    units = parent_units(side, side, torch.tensor(hierarchy.parent_of), members)
    assert [(each.parent, each.unit) for each in units] == [(0, 2), (1, 0), (2, 1)]


def test_it_needs_a_hierarchy() -> None:
    images = SimpleNamespace(labels=np.asarray([0, 1]), class_hierarchy=None)
    baseline: Any = SimpleNamespace(images=images, probing=SimpleNamespace(images=images))
    method: Any = SimpleNamespace(n_units=5)
    assert not Absorption.applies(method, baseline)
