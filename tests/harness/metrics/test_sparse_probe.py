"""Sparse and dense probes: values of ViSAEBench, closed forms, planted classes, nothing chosen on measured images."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.errors import ArgumentError
from harness.metrics import sparse_probe
from harness.metrics.base import Metric, Outcome, Score
from harness.metrics.probe_dense import ProbeDense
from harness.metrics.sparse_probe import KS, SparseProbe, f_statistics, ranked_units
from harness.stats.log_mean import log_weights


def with_classes(n: int, n_units: int, n_classes: int, seed: int, strength: float = 1.5) -> tuple[Tensor, Tensor]:
    """Codes (n, n_units) in which unit c, and more weakly unit 10 + c, is larger on images of the class c."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(n, 5, n_units, generator=generator)
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    tokens[torch.arange(n), 2, labels] += strength
    tokens[torch.arange(n), 1, labels + 10] += strength / 2
    return torch.relu(tokens).amax(1), labels


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        # Printed by visaebench 0.1.0: SparseProbing(k_values=[1, 2, 5, 16]).compute, with an encoder that is a ReLU.
        (0, (0.2, 0.2, 0.25, 0.375)),
        (1, (0.2, 0.35, 0.3, 0.325)),
        (2, (0.275, 0.375, 0.35, 0.275)),
        (3, (0.125, 0.25, 0.4, 0.35)),
    ],
)
def test_values_are_those_of_visaebench(seed: int, expected: tuple[float, ...]) -> None:
    codes, labels = with_classes(200, 40, 7, seed)
    assert [sparse_probe(codes, labels, k) for k in KS] == pytest.approx(list(expected), abs=1e-4)


def test_labels_with_gaps_are_split_as_in_visaebench() -> None:
    """Printed by visaebench 0.1.0, which does not stratify if a number below the largest label has no image."""
    codes, labels = with_classes(200, 40, 7, 0)
    values = [sparse_probe(codes, labels + (labels >= 3), k) for k in KS]
    assert values == pytest.approx([0.2, 0.3, 0.4, 0.275], abs=1e-4)


@pytest.mark.parametrize("value", [4.0, 0.1, 1e-3, 1234.567])
@pytest.mark.parametrize("n", [60, 101, 143])
def test_constant_codes_are_ranked_last(n: int, value: float) -> None:
    """Their F statistic is 0/0 of rounding errors, which may be infinite."""
    codes = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    codes[:, 1] = value
    labels = torch.arange(n) % 7
    assert f_statistics(codes, labels)[1] == -math.inf
    assert int(ranked_units(codes, labels)[-1]) == 1


def test_a_unit_that_is_the_class_is_found_and_predicts_it() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    codes = torch.rand(120, 30, generator=generator)
    codes[:, 17] = 10 * labels + 0.1 * codes[:, 17]
    assert int(ranked_units(codes, labels)[0]) == 17
    assert sparse_probe(codes, labels, 1) == 1.0
    # Chosen on the first half, measured on the second, where another unit is the class.
    swapped = codes[:, torch.cat([torch.arange(17), torch.tensor([29]), torch.arange(18, 29), torch.tensor([17])])]
    assert sparse_probe(codes, labels, 1, test_codes=swapped, test_labels=labels) < 0.7


def test_the_f_statistic_is_that_of_an_analysis_of_variance() -> None:
    generator = torch.Generator().manual_seed(1)
    codes, labels = torch.randn(60, 6, generator=generator), torch.arange(60) % 3
    codes[:, 2] = 4.0
    means = torch.stack([codes[labels == c].double().mean(0) for c in range(3)])
    between = 20 * ((means - codes.double().mean(0)) ** 2).sum(0) / 2
    within = sum(((codes[labels == c].double() - means[c]) ** 2).sum(0) for c in range(3)) / 57
    expected = between / within
    measured = f_statistics(codes, labels)
    assert measured[2] == -math.inf
    kept = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(measured[kept], expected[kept], rtol=1e-9, atol=0)
    assert int(ranked_units(codes, labels)[-1]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 0}, "k = 0"),
        ({"k": 41}, "k = 41: give a whole number from 1 to the number of units, 40"),
        ({"k": True}, "k = True"),
        ({"labels": torch.zeros(200, dtype=torch.int64)}, "all images have one class"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "must have the shapes"),
        ({"labels": torch.rand(200)}, "give whole numbers"),
        ({"codes": torch.full((200, 40), math.nan)}, "NaN or infinity"),
        ({"test_codes": torch.rand(5, 40)}, "test_codes and test_labels together"),
        ({"test_codes": torch.rand(5, 3), "test_labels": torch.zeros(5, dtype=torch.int64)}, "have 3 units"),
        ({"test_size": 1.5}, "test_size = 1.5"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(change: dict[str, Any], words: str) -> None:
    codes, labels = with_classes(200, 40, 7, 0)
    arguments: dict[str, Any] = {"codes": codes, "labels": labels, "k": 2, **change}
    with pytest.raises(ArgumentError, match=words):
        sparse_probe(arguments.pop("codes"), arguments.pop("labels"), arguments.pop("k"), **arguments)


def test_weights_of_the_mean_over_log_k() -> None:
    assert log_weights([3]) == [1.0]
    assert log_weights([1, 2, 4]) == pytest.approx([0.25, 0.5, 0.25])
    assert sum(log_weights(KS)) == pytest.approx(1)


def measure(
    metric: type[Metric], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[dict[str, Score], Outcome]:
    """Scores of a metric by name, for codes and labels of both splits; the layer's neurons are the first six units."""
    codes = [LabelledCodes(torch.arange(len(y)), y, x, x[:, :6], x, x[:, :6], len(y)) for x, y in (train, test)]
    backbone = SimpleNamespace(device=torch.device("cpu"))
    baseline: Any = SimpleNamespace(
        images=SimpleNamespace(labels=test[1].numpy(), classes=tuple("abcdefgh")),
        passes=SimpleNamespace(backbone=backbone),
    )
    method: Any = SimpleNamespace(parents=None, n_units=train[0].shape[1])
    units: Any = None
    outcome = Outcome(method, units, baseline, 6, image_codes=ImageCodes(*codes))
    return {score.metric: score for score in metric(baseline).compute(outcome)}, outcome


def test_planted_classes_are_told_from_random_units() -> None:
    train, test = with_classes(400, 60, 7, 0, strength=4.0), with_classes(300, 60, 7, 1, strength=4.0)
    scores, outcome = measure(SparseProbe, train, test)
    assert list(scores) == ["sparse_probe_k", *(f"sparse_probe_{k}" for k in KS), "sparse_probe_excess"]
    values = [scores[f"sparse_probe_{k}"].value for k in KS]
    assert values == sorted(values) and values[-1] > 0.8
    main, excess = scores["sparse_probe_k"], scores["sparse_probe_excess"]
    assert main.value == pytest.approx(float(np.dot(log_weights(KS), values)), abs=1e-12)
    assert main.n == 300 and main.uncertainty is not None and main.uncertainty_kind == "images"
    assert excess.uncertainty is not None and excess.value > 10 * excess.uncertainty
    assert main.details is not None and set(main.details["units"][:7]) <= {*range(7), *range(10, 17)}
    counted, right = outcome.image_outcomes["sparse_probe_16"]
    assert counted.all() and right.mean() == pytest.approx(values[-1])


def test_codes_without_meaning_are_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.rand(400, 60, generator=generator), torch.randint(0, 7, (400,), generator=generator)
    test = torch.rand(400, 60, generator=generator), torch.randint(0, 7, (400,), generator=generator)
    scores, _ = measure(SparseProbe, train, test)
    excess, main = scores["sparse_probe_excess"], scores["sparse_probe_k"]
    assert excess.uncertainty is not None and abs(excess.value) < 3 * excess.uncertainty
    assert main.uncertainty is not None and abs(main.value - 1 / 7) < 3 * main.uncertainty


def test_the_scale_of_codes_does_not_matter_and_classes_without_probing_images_are_left_out() -> None:
    train, test = with_classes(300, 60, 6, 0, strength=4.0), with_classes(200, 60, 7, 1, strength=4.0)
    scores, _ = measure(SparseProbe, train, test)
    scaled, _ = measure(SparseProbe, (train[0] * 1e-3, train[1]), (test[0] * 1e-3, test[1]))
    for name, score in scores.items():
        assert scaled[name].value == pytest.approx(score.value, abs=0.02), name
    unseen = int((test[1] == 6).sum())
    assert scores["sparse_probe_k"].n == 200 - unseen > 0
    assert scores["sparse_probe_k"].details is not None
    assert scores["sparse_probe_k"].details["n_unseen_class"] == unseen


def test_fewer_units_than_k() -> None:
    codes, labels = with_classes(100, 40, 3, 0)
    scores, _ = measure(SparseProbe, (codes[:, :3], labels), (codes[:, :3], labels))
    assert list(scores) == ["sparse_probe_k", "sparse_probe_1", "sparse_probe_2", "sparse_probe_excess"]
    assert scores["sparse_probe_k"].params == {"ks": [1, 2]}


def test_a_dense_probe_and_its_gain_over_the_layer() -> None:
    train, test = with_classes(400, 60, 7, 0, strength=4.0), with_classes(300, 60, 7, 1, strength=4.0)
    scores, outcome = measure(ProbeDense, train, test)
    share, layer, gain = (scores[name] for name in ("probe_dense", "probe_dense_layer", "probe_dense_gain"))
    # The layer has the units of six of the seven classes only.
    assert share.value > layer.value and gain.value == pytest.approx(share.value - layer.value)
    counted, right = outcome.image_outcomes["probe_dense"]
    assert counted.all() and right.mean() == pytest.approx(share.value)
    commonest = int(train[1].mode().values)
    assert share.details == {"majority": pytest.approx(float((test[1] == commonest).double().mean())), "n_probing": 400}


@pytest.mark.parametrize("metric", [SparseProbe, ProbeDense])
def test_they_need_two_classes_in_both_splits(metric: type[Metric]) -> None:
    method: Any = SimpleNamespace(n_units=3)

    def applies(evaluation: list[int], probing: list[int]) -> bool:
        images = [SimpleNamespace(labels=np.asarray(labels)) for labels in (evaluation, probing)]
        baseline: Any = SimpleNamespace(images=images[0], probing=SimpleNamespace(images=images[1]))
        return metric.applies(method, baseline)

    assert applies([0, 1], [0, 1, 1])
    assert not applies([0, 0, -1], [0, 1]) and not applies([0, 1], [1, 1, -1])
