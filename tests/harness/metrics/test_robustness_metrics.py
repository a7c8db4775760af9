"""Robustness metrics: closed forms, brute-force twins with scikit-learn, planted layers, and wrong inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.errors import UserError
from harness.metrics import robust_corruption, robust_few_shot, robust_labels
from harness.metrics.base import Metric, Outcome, Score
from harness.metrics.robust_corruption import CORRUPTIONS, RobustCorruption
from harness.metrics.robust_curve import Estimate, Level, RobustCurve
from harness.metrics.robust_few_shot import RobustFewShot, few_images
from harness.metrics.robust_labels import RobustLabels, informative_shares, noisy_labels

Data = tuple[Tensor, Tensor, Tensor]
METRICS = (RobustCorruption, RobustLabels, RobustFewShot)


def planted(n: int, seed: int, *, n_classes: int = 5, strength: float = 3.0, noise: float = 1.0) -> Data:
    """Codes with a unit per class, a layer of random mixtures of these, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % n_classes
    codes = noise * torch.rand(n, 12, generator=generator)
    codes[torch.arange(n), labels] += strength
    mixing = torch.randn(12, 6, generator=torch.Generator().manual_seed(99))
    return codes, codes @ mixing, labels


def labelled(data: Data) -> LabelledCodes:
    codes, layer, labels = data
    return LabelledCodes(torch.arange(len(labels)), labels, codes, layer, codes, layer, len(labels))


def measure(
    metric: type[Metric],
    train: Data,
    test: Data,
    altered: Callable[[Any, str], LabelledCodes] | None = None,
) -> tuple[dict[str, Score], Outcome]:
    sides = [labelled(train), labelled(test)]
    images = [SimpleNamespace(labels=data[2].numpy(), classes=tuple("abcdefgh")) for data in (test, train)]
    baseline: Any = SimpleNamespace(
        images=images[0],
        probing=SimpleNamespace(images=images[1]),
        passes=SimpleNamespace(backbone=SimpleNamespace(device=torch.device("cpu"))),
    )
    method: Any = SimpleNamespace(parents=None, n_units=train[0].shape[1])
    units: Any = None
    outcome = Outcome(method, units, baseline, 6, image_codes=ImageCodes(*sides))
    outcome.altered_codes = altered or (lambda alteration, split: sides[1])
    return {score.metric: score for score in metric(baseline).compute(outcome)}, outcome


def accuracy(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor) -> np.ndarray:
    """Return the test images that scikit-learn's pipeline predicts."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(x.numpy(), y.numpy())
    right: np.ndarray = model.predict(test_x.numpy()) == test_y.numpy()
    return right


@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_a_planted_layer(metric: type[Metric]) -> None:
    train, test = planted(150, 0), planted(100, 1)
    scores, _ = measure(metric, train, test)
    name = metric.id
    assert list(scores) == [name, f"{name}_layer", f"{name}_gain"]
    main, layer, gain = scores.values()
    assert main.value > 0.6 and gain.value == pytest.approx(main.value - layer.value, abs=1e-12)
    assert (main.direction, layer.direction, gain.direction) == ("higher", "none", "higher")
    assert main.details is not None and layer.details is not None
    curve = main.details["curve"]
    assert curve[0]["clean"] and all("clean" not in point for point in curve[1:])
    assert main.value == pytest.approx(np.mean([point["codes"] for point in curve[1:]]))
    assert layer.value == pytest.approx(np.mean([point["layer"] for point in curve[1:]]))
    assert gain.value == pytest.approx(np.mean([point["gain"] for point in curve[1:]]))
    for score in (main, layer):
        details = score.details
        assert details is not None
        assert np.mean(details["right"]) / details["trials"] == pytest.approx(score.value)
        assert np.mean(details["draws"]) == pytest.approx(score.value)
        assert details["images"] == list(range(100)) and details["majority"] == pytest.approx(0.2)
    assert np.mean(main.details["clean"]) == pytest.approx(curve[0]["codes"])


def test_wrong_labels_against_scikit_learn() -> None:
    train, test = planted(80, 0, strength=1.0), planted(60, 1, strength=1.0)
    scores, _ = measure(RobustLabels, train, test)
    main = scores["robust_labels"]
    assert main.params == {"shares": [20, 40, 60], "draws": 5} and main.details is not None
    sides = []
    for x, test_x in ((train[0], test[0]), (train[1], test[1])):
        sides.append(
            np.array(
                [
                    [accuracy(x, noisy_labels(train[2], share, draw), test_x, test[2]) for draw in range(5)]
                    for share in (20, 40, 60)
                ]
            )
        )
    for side, name in zip(sides, ("robust_labels", "robust_labels_layer"), strict=True):
        # The scale of a feature is that of n - 1 images here, so a borderline image may differ.
        assert scores[name].value == pytest.approx(side.mean(), abs=0.005)
    points = main.details["curve"][1:]
    assert [point["share"] for point in points] == [20, 40, 60]
    difference = sides[0].astype(float) - sides[1]
    for point, level in zip(points, difference, strict=True):
        assert point["gain"] == pytest.approx(level.mean(), abs=0.01) and point["n"] == 60
        error = math.sqrt(level.mean(0).var(ddof=1) / 60 + level.mean(1).var(ddof=1) / 5)
        assert point["error"] == pytest.approx(error, rel=0.15)
    assert scores["robust_labels_gain"].uncertainty_kind == "images and draws"


def test_few_images_against_scikit_learn() -> None:
    train, test = planted(60, 0, strength=1.0), planted(60, 1, strength=1.0)
    scores, outcome = measure(RobustFewShot, train, test)
    assert scores["robust_few_shot"].params == {"shots": [1, 2, 5, 10], "draws": 10} and not outcome.notes
    expected = np.mean(
        [
            accuracy(train[0][rows], train[2][rows], test[0], test[2]).mean()
            for shots in (2, 5, 10)
            for rows in (few_images(train[2], shots, draw) for draw in range(10))
        ]
    )
    details = scores["robust_few_shot"].details
    assert details is not None
    measured = np.mean([point["codes"] for point in details["curve"] if point["shots"] in (2, 5, 10)])
    assert measured == pytest.approx(expected, abs=0.02)


def test_corrupted_images_against_a_direct_evaluation() -> None:
    train, test = planted(100, 0), planted(80, 1)
    calls: list[tuple[str, int, str]] = []

    def altered(alteration: Any, split: str) -> LabelledCodes:
        calls.append((alteration.id, alteration.severity, split))
        noise = torch.Generator().manual_seed(len(calls))
        factor = 0.6 * alteration.severity
        x = [test[side] + factor * torch.randn(test[side].shape, generator=noise) for side in (0, 1)]
        return labelled((x[0], x[1], test[2]))

    scores, _ = measure(RobustCorruption, train, test, altered)
    assert calls == [(name, severity, "evaluation") for name in CORRUPTIONS for severity in range(1, 6)]
    of_levels = []
    for number, (_, severity, _) in enumerate(calls, 1):
        noise = torch.Generator().manual_seed(number)
        x = [test[side] + 0.6 * severity * torch.randn(test[side].shape, generator=noise) for side in (0, 1)]
        of_levels.append([accuracy(train[side], train[2], x[side], test[2]) for side in (0, 1)])
    right = np.array(of_levels, dtype=float)
    main, layer, gain = scores.values()
    assert main.value == pytest.approx(right[:, 0].mean(), abs=0.003)
    assert layer.value == pytest.approx(right[:, 1].mean(), abs=0.003)
    per_image = (right[:, 0] - right[:, 1]).mean(0)
    assert gain.uncertainty == pytest.approx(per_image.std(ddof=1) / math.sqrt(80), rel=0.03)
    assert gain.uncertainty_kind == "images" and gain.n == 80
    assert main.details is not None
    by_severity = [np.mean([p["codes"] for p in main.details["curve"][1:] if p["severity"] == s]) for s in range(1, 6)]
    assert by_severity == sorted(by_severity, reverse=True) and main.details["curve"][0]["severity"] == 0


def test_labels_are_replaced_by_others_in_nested_shares() -> None:
    labels = torch.arange(1000) % 4 * 2
    before = torch.zeros(1000, dtype=torch.bool)
    for share in (0, 20, 40, 60, 80):
        noisy = noisy_labels(labels, share, 0)
        changed = noisy != labels
        assert int(changed.sum()) == 10 * share and not (before & ~changed).any()
        before = changed
    counts = np.bincount((noisy - labels)[changed].remainder(8).numpy(), minlength=8)
    assert counts[0] == 0 and counts[[1, 3, 5, 7]].sum() == 0
    assert (np.abs(counts[[2, 4, 6]] - 800 / 3) < 4 * math.sqrt(800 * 2 / 9)).all()
    assert (noisy_labels(labels, 40, 1) != noisy_labels(labels, 40, 0)).any()
    assert (noisy_labels(labels, 40, 1) == noisy_labels(labels, 40, 1)).all()


@pytest.mark.parametrize(
    ("n_classes", "shares"), [(2, [20, 40]), (3, [20, 40, 60]), (5, [20, 40, 60]), (6, [20, 40, 60, 80])]
)
def test_shares_at_which_the_true_class_is_not_the_most_probable_are_left_out(
    n_classes: int, shares: list[int]
) -> None:
    assert informative_shares(n_classes) == shares
    scores, outcome = measure(RobustLabels, planted(60, 0, n_classes=n_classes), planted(30, 1, n_classes=n_classes))
    params = scores["robust_labels"].params
    assert params is not None and params["shares"] == shares
    assert bool(outcome.notes) == (len(shares) < 4)


def test_few_images_are_a_draw_from_each_class_and_nested() -> None:
    labels = torch.tensor([0] * 3 + [2] * 20 + [5] * 8)
    sets = {shots: set(few_images(labels, shots, 4).tolist()) for shots in (1, 2, 5, 10)}
    assert [len(sets[shots]) for shots in (1, 2, 5, 10)] == [3, 6, 13, 21]
    assert sets[1] < sets[2] < sets[5] < sets[10]
    draws = torch.stack([few_images(labels, 1, draw) for draw in range(200)])
    assert set(draws[:, 0].tolist()) == {0, 1, 2} and len(set(draws[:, 1].tolist())) == 20


def test_numbers_beyond_the_smallest_class_are_left_out_with_a_note() -> None:
    codes, layer, labels = planted(60, 0)
    kept = torch.ones(60, dtype=torch.bool)
    kept[(labels == 3).nonzero()[3:, 0]] = False
    scores, outcome = measure(RobustFewShot, (codes[kept], layer[kept], labels[kept]), planted(30, 1))
    assert scores["robust_few_shot"].params == {"shots": [1, 2], "draws": 10}
    assert outcome.notes == [
        "robust_few_shot leaves out 5, 10 images per class: the smallest class has 3 probing images."
    ]


def test_both_sides_have_the_same_draws_so_equal_features_have_no_gain() -> None:
    codes, _, labels = planted(80, 0, strength=0.5)
    test = planted(60, 1, strength=0.5)
    for metric in METRICS:
        scores, _ = measure(metric, (codes, codes, labels), (test[0], test[0], test[2]))
        gain = scores[f"{metric.id}_gain"]
        assert gain.value == 0 and gain.uncertainty == 0


def test_planted_units_are_told_from_random_ones_and_the_scale_does_not_matter() -> None:
    """Few weak units among many strong ones carry the class; the layer mixes all, and random units mix it again."""
    generator = torch.Generator().manual_seed(3)
    mixing, random = (torch.randn(60, 60, generator=generator) for _ in range(2))

    def data(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        labels = torch.arange(n) % 6
        codes = torch.relu(torch.randn(n, 60, generator=draw) - 1)
        codes[torch.arange(n), labels] += 3
        codes[:, 6:] *= 8
        return codes, codes @ mixing, labels

    train, test = data(150, 0), data(200, 1)
    truth, _ = measure(RobustLabels, train, test)
    chance, _ = measure(
        RobustLabels,
        (torch.relu(train[1] @ random), train[1], train[2]),
        (torch.relu(test[1] @ random), test[1], test[2]),
    )
    gains = [scores["robust_labels_gain"] for scores in (truth, chance)]
    assert gains[0].uncertainty is not None and gains[0].value > 3 * gains[0].uncertainty
    assert gains[0].value > gains[1].value + 0.1
    scaled, _ = measure(RobustLabels, (1e-3 * train[0], *train[1:]), (1e-3 * test[0], *test[1:]))
    assert scaled["robust_labels"].value == pytest.approx(truth["robust_labels"].value, abs=0.01)


def test_errors_of_a_mean_over_images_and_draws() -> None:
    one = Estimate.of(np.array([[1.0, 0, 0, 1]]))
    assert one.value == 0.5 and one.error == pytest.approx(math.sqrt(np.var([1, 0, 0, 1], ddof=1) / 4))
    several = Estimate.of(np.array([[1.0, 0], [1, 0], [0, 0]]))
    assert several.error == pytest.approx(math.sqrt(np.var([2 / 3, 0], ddof=1) / 2 + np.var([0.5, 0.5, 0], ddof=1) / 3))
    assert Estimate.of(np.ones((3, 1))).error is None
    # Two sources that are independent: the stated error is the spread over repetitions.
    generator = np.random.default_rng(0)
    values = [
        Estimate.of(
            generator.normal(0, 1, (1, 40)) + generator.normal(0, 0.3, (8, 1)) + generator.normal(0, 1, (8, 40))
        )
        for _ in range(400)
    ]
    spread = np.std([estimate.value for estimate in values])
    assert np.mean([estimate.error for estimate in values if estimate.error]) == pytest.approx(spread, rel=0.15)


def test_levels_at_chance_are_named() -> None:
    right, wrong = np.ones((1, 50), bool), np.arange(50)[None] % 5 == 0
    level = Level({"share": 80}, wrong, wrong)
    assert level.point(0.3)["at_chance"] and not Level({"share": 20}, right, wrong).point(0.3)["at_chance"]
    curve = RobustCurve(torch.arange(50), 0.3, Level({"share": 0}, right, right))
    with pytest.raises(UserError, match="has no level"):
        list(curve.scores("robust_labels", {}, {}))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("split", "value"), [(0, math.nan), (1, math.nan), (0, math.inf), (1, -math.inf)])
def test_codes_that_are_not_finite_are_named(metric: type[Metric], split: int, value: float) -> None:
    data = [planted(60, 0), planted(40, 1)]
    data[split][0][3, 4] = value
    words = "1 of 12 features contain NaN or infinity on " + ("probing", "evaluation")[split]
    with pytest.raises(UserError, match=words):
        measure(metric, data[0], data[1])


def test_dead_units_and_constant_layers_are_probed() -> None:
    train, test = planted(60, 0), planted(40, 1)
    for data in (train, test):
        data[0][:, 7] = 0
        data[1][:] = 1.0
    for metric in METRICS:
        scores, _ = measure(metric, train, test)
        assert scores[metric.id].value > scores[f"{metric.id}_layer"].value
        assert scores[f"{metric.id}_layer"].value == pytest.approx(0.2, abs=0.1)


def test_levels_of_different_images_are_refused() -> None:
    test = planted(40, 1)
    sizes = iter([40] * 3 + [39] * 30)

    def altered(alteration: Any, split: str) -> LabelledCodes:
        n = next(sizes)
        return labelled((test[0][:n], test[1][:n], test[2][:n]))

    with pytest.raises(UserError, match="could be read at one severity only"):
        measure(RobustCorruption, planted(60, 0), test, altered)


def test_only_as_many_images_as_are_altered_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = planted(60, 0), planted(40, 1)
    chosen = torch.arange(0, 40, 2)
    part = labelled((test[0][chosen], test[1][chosen], test[2][chosen]))
    altered = LabelledCodes(chosen, part.labels, part.codes, part.layer, part.codes, part.layer, 40)
    scores, _ = measure(RobustCorruption, train, test, lambda alteration, split: altered)
    details = scores["robust_corruption"].details
    assert details is not None and details["images"] == chosen.tolist() and scores["robust_corruption"].n == 20
    monkeypatch.setattr(robust_labels, "labelled_sample", lambda images, most: np.arange(0, len(images.labels), 2))
    monkeypatch.setattr(robust_few_shot, "labelled_sample", lambda images, most: np.arange(0, len(images.labels), 2))
    for metric in (RobustLabels, RobustFewShot):
        scores, _ = measure(metric, train, test)
        details = scores[metric.id].details
        assert details is not None and details["images"] == chosen.tolist()
        assert details["n_probing"] == (30 if metric is RobustLabels else 60)


@pytest.mark.parametrize("metric", METRICS)
def test_they_need_two_classes_in_both_splits(metric: type[Metric]) -> None:
    method: Any = SimpleNamespace(n_units=3)

    def applies(evaluation: list[int], probing: list[int] | None, first_set: object = None) -> bool:
        splits = [
            None if labels is None else SimpleNamespace(labels=np.asarray(labels)) for labels in (evaluation, probing)
        ]
        baseline: Any = SimpleNamespace(
            images=splits[0],
            probing=None if probing is None else SimpleNamespace(images=splits[1]),
            first_set=first_set,
        )
        return metric.applies(method, baseline)

    assert applies([0, 1], [0, 1, 1])
    # On a further image set, a disturbance would be mixed with the change of the set.
    assert not applies([0, 1], [0, 1, 1], first_set=object())
    assert not applies([0, 0, -1], [0, 1]) and not applies([0, 1], [1, 1, -1]) and not applies([0, 1], None)


def test_codes_of_one_class_are_refused() -> None:
    codes, layer, _ = planted(20, 0)
    with pytest.raises(UserError, match="fewer than two classes"):
        measure(RobustCorruption, (codes, layer, torch.zeros(20, dtype=torch.int64)), planted(20, 1))


@pytest.mark.parametrize("metric", METRICS)
def test_evaluation_images_of_other_classes_are_refused(metric: type[Metric]) -> None:
    codes, layer, labels = planted(20, 1)
    with pytest.raises(UserError, match="no evaluation image that can be read has a class of the probing images"):
        measure(metric, planted(60, 0), (codes, layer, torch.full_like(labels, 6)))


def test_the_corruptions_exist() -> None:
    from harness.alterations import ALTERATIONS

    assert all(ALTERATIONS.get(name)(5).severity == 5 for name in robust_corruption.CORRUPTIONS)
