"""Class purity and the polysemanticity index: the two metrics of labelled top images, where the answer is known."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from in_memory import MemoryTokens
from torch import Tensor
from torch.nn import functional

from harness.activations.random_sets import commonest_share, random_images
from harness.activations.unit_statistics import UnitStatistics
from harness.cells.evaluate import UNIT_COLUMNS
from harness.metrics.base import Metric, Outcome
from harness.metrics.class_purity import ClassPurity, chance_purity
from harness.metrics.polysemanticity import IndexFactors, Polysemanticity, calibrated, parts_of


class Stage:
    """An evaluation split of given labels and outputs, as far as the two metrics look at it."""

    def __init__(self, labels: np.ndarray, outputs: Tensor, top_images: int = 20) -> None:
        self.images = SimpleNamespace(labels=labels)
        self.index = np.arange(len(labels))
        self.n_tokens = outputs.shape[1]
        self.top_images = top_images
        self.tokens = MemoryTokens(outputs.flatten(0, 1), outputs.flatten(0, 1))

    def rows(self, image: Tensor, token: Tensor) -> Tensor:
        return image * self.n_tokens + token

    def measure(self, metric: type[Metric], codes: Tensor) -> tuple[dict[str, float], np.ndarray]:
        """Scores by name, and the per-unit column."""
        statistics = UnitStatistics(codes.shape[-1], self.top_images)
        statistics.update(codes, torch.arange(len(codes)))
        method: Any = SimpleNamespace(parents=None)
        outcome = Outcome(method, statistics, self, self.tokens.width("output"))  # type: ignore[arg-type]
        scores = {score.metric: score.value for score in metric(self).compute(outcome)}
        self.unit_columns = outcome.unit_columns
        return scores, outcome.unit_columns[metric.id]


def stage(n: int = 90, n_classes: int = 3, d: int = 24, noise: float = 0.3) -> tuple[Stage, np.ndarray, Tensor]:
    """Images of equally frequent classes whose two tokens lie around an axis of their class."""
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(n) % n_classes
    outputs = torch.eye(d)[torch.from_numpy(labels)][:, None] + noise * torch.randn(n, 2, d, generator=generator) / 5
    return Stage(labels, outputs), labels, generator


def fires_on(images: np.ndarray, n: int, generator: Tensor) -> Tensor:
    """(n, 2) codes of a unit that is active on the given images, at the second token."""
    codes = torch.full((n, 2), -1.0)
    codes[torch.from_numpy(images), 1] = 1 + torch.rand(len(images), generator=generator)
    return codes


class TestClassPurity:
    def test_closed_form(self) -> None:
        own, labels, generator = stage()
        units = [
            fires_on(np.flatnonzero(labels == 1)[:20], 90, generator),  # one class
            fires_on(np.flatnonzero(labels < 2)[:20], 90, generator),  # two in equal parts
            fires_on(np.array([3]), 90, generator),  # one image: undefined
            torch.full((90, 2), -1.0),  # dead
            fires_on(np.array([0, 3, 6, 1]), 90, generator),  # three of four
        ]
        scores, column = own.measure(ClassPurity, torch.stack(units, -1))
        np.testing.assert_allclose(column, [1, 0.5, np.nan, np.nan, 0.75])
        assert scores["class_purity"] == pytest.approx(0.75)
        assert scores["class_purity_undefined"] == 1
        chance = chance_purity(labels, [4, 20])
        adjusted = [1, (0.5 - chance[20]) / (1 - chance[20]), (0.75 - chance[4]) / (1 - chance[4])]
        assert scores["class_purity_adjusted"] == pytest.approx(np.mean(adjusted))
        levels = own.unit_columns["class_purity_chance"]
        np.testing.assert_allclose(levels, [chance[20], chance[20], np.nan, np.nan, chance[4]])
        assert scores["class_purity_chance"] == pytest.approx(np.nanmean(levels))

    def test_chance_of_two_is_the_chance_of_a_match(self) -> None:
        labels = np.repeat([0, 1, 2, -1], [10, 20, 30, 5])
        match = (10 * 9 + 20 * 19 + 30 * 29) / (60 * 59)
        assert chance_purity(labels, [2], draws=20_000)[2] == pytest.approx(0.5 + 0.5 * match, abs=0.01)
        assert chance_purity(labels, [60])[60] == pytest.approx(0.5)
        assert chance_purity(labels, []) == {}

    def test_random_units_are_at_chance(self) -> None:
        own, _, generator = stage()
        scores, column = own.measure(ClassPurity, torch.randn(90, 2, 400, generator=generator))
        assert abs(scores["class_purity_adjusted"]) < 0.02
        assert np.isfinite(column).all()

    def test_unlabelled_images_do_not_count(self) -> None:
        own, labels, generator = stage()
        labels[:30] = -1
        codes = fires_on(np.r_[0:4, 30, 33, 31], 90, generator)[..., None]
        assert own.measure(ClassPurity, codes)[1][0] == pytest.approx(2 / 3)

    def test_without_classes_both_are_left_out(self) -> None:
        nothing, single = Stage(np.full(90, -1), torch.zeros(90, 1, 2)), Stage(np.zeros(90, int), torch.zeros(90, 1, 2))
        for metric, where in itertools.product((ClassPurity, Polysemanticity), (nothing, single)):
            assert not metric.applies(None, where)
        assert ClassPurity.applies(None, stage()[0]) and Polysemanticity.applies(None, stage()[0])

    def test_commonest_share_is_a_count(self) -> None:
        label = torch.randint(0, 4, (50, 9), generator=torch.Generator().manual_seed(0))
        expected = [max(np.bincount(row)) / 9 for row in label.numpy()]
        np.testing.assert_allclose(commonest_share(label), expected)


class TestPolysemanticity:
    def test_one_class_is_clean_two_are_not_and_random_is_near_its_null(self) -> None:
        own, labels, generator = stage()
        units = [
            fires_on(np.flatnonzero(labels == 1)[:20], 90, generator),
            fires_on(np.flatnonzero(labels < 2)[:20], 90, generator),
            fires_on(np.array([1, 2, 3]), 90, generator),
        ]
        scores, column = own.measure(Polysemanticity, torch.stack(units, -1))
        assert column[0] == 0 and column[1] > 0.5 and np.isnan(column[2])
        assert scores["polysemanticity_undefined"] == 1
        random, spread = own.measure(Polysemanticity, torch.randn(90, 2, 400, generator=generator))
        error = spread.std() / np.sqrt(400)
        assert random["polysemanticity"] == pytest.approx(random["polysemanticity_null"], abs=5 * error + 0.01)
        assert random["polysemanticity"] < 0.5 * column[1]

    def test_the_parts_at_known_points(self) -> None:
        two = torch.zeros(1, 8, 5)
        two[0, :4, 0] = two[0, 4:, 1] = 1
        label = torch.tensor([[0] * 4 + [1] * 4])
        found = parts_of(two @ two.mT, label)
        assert [float(x) for x in found] == pytest.approx([1, 1, 32 / 56], abs=1e-9)
        mixed = parts_of(two @ two.mT, torch.tensor([[0, 1] * 4]))
        assert float(mixed.alignment) == pytest.approx(0, abs=1e-9) and float(mixed.geometry) == pytest.approx(1)
        same = parts_of(torch.ones(1, 8, 8), label)
        assert [float(x) for x in same] == [0, 0, 0]
        single = parts_of(two @ two.mT, torch.zeros(1, 8, dtype=torch.int64))
        assert float(single.alignment) == 0

    def test_equals_a_plain_computation(self) -> None:
        generator = torch.Generator().manual_seed(5)
        vectors = functional.normalize(torch.randn(6, 9, 4, generator=generator).double(), dim=-1)
        label = torch.randint(0, 3, (6, 9), generator=generator)
        found = parts_of(vectors @ vectors.mT, label)
        for unit in range(6):
            e, own = vectors[unit].numpy(), label[unit].numpy()
            centred = e - e.mean(0)
            left = np.linalg.svd(centred)[0][:, 0]
            group = left > 0
            parts = [centred[group], centred[~group]]
            between = sum(len(part) * np.sum(part.mean(0) ** 2) for part in parts)
            assert float(found.geometry[unit]) == pytest.approx(between / np.sum(centred**2))
            joint = np.array([[np.mean((own == k) & (group == g)) for g in (False, True)] for k in range(3)])
            p, s = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
            inside = joint > 0
            information = np.sum(joint[inside] * np.log(joint[inside] / (p * s)[inside]))
            entropy = -np.sum(s * np.log(s))
            assert float(found.alignment[unit]) == pytest.approx(max(0, information) / entropy)
            pairs = [1 - e[i] @ e[j] for i in range(9) for j in range(9) if i != j]
            assert float(found.distinctness[unit]) == pytest.approx(np.mean(pairs))

    def test_calibration(self) -> None:
        null = IndexFactors(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.2]), torch.tensor([0.4, 0.6]))
        of = IndexFactors(torch.tensor([0.6, 0.1, 1.0]), torch.tensor([0.6, 1.0, 1.0]), torch.tensor([0.25, 0.5, 0.9]))
        assert calibrated(of, null).tolist() == pytest.approx([0.5 * 0.5 * 0.5, 0, 1])

    def test_draws_are_the_same_every_time_and_without_repetition(self) -> None:
        own, _, generator = stage()
        codes = torch.randn(90, 2, 20, generator=generator)
        assert own.measure(Polysemanticity, codes)[0] == own.measure(Polysemanticity, codes)[0]
        drawn = random_images(np.arange(7), 7, 5, purpose="test")
        assert all(sorted(row) == list(range(7)) for row in drawn.tolist())


def test_the_store_takes_the_columns_of_both_metrics() -> None:
    assert {ClassPurity.id, "class_purity_chance", Polysemanticity.id} <= set(UNIT_COLUMNS)
