"""Transfer of a probe: closed forms, scikit-learn as a twin, shared classes, and sets without two of them."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.metrics.base import Outcome, Score
from harness.metrics.probe_transfer import ProbeTransfer

CLASSES = ("ant", "bee", "cat", "dog", "elk")
N_NEURONS = 4


class Side:
    """Codes (n, n_units), outputs of the layer (n, 4) and labels (n,) of one split."""

    def __init__(self, codes: Tensor, layer: Tensor, labels: Tensor) -> None:
        self.codes, self.layer, self.labels = codes.float(), layer.float(), labels

    def pooled(self) -> LabelledCodes:
        n = len(self.labels)
        return LabelledCodes(torch.arange(n), self.labels, self.codes, self.layer, self.codes, self.layer, n)

    def without(self, *classes: int) -> Side:
        kept = ~torch.isin(self.labels, torch.tensor(classes))
        return Side(self.codes[kept], self.layer[kept], self.labels[kept])


def drawn(
    n: int, seed: int, classes: tuple[int, ...] = (0, 1, 2), *, strength: float = 2.0, layer: float = 1.0
) -> Side:
    """Random codes of 12 units and outputs of 4 neurons, of which those with the number of the class are larger."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.randint(0, len(classes), (n,), generator=generator)]
    codes, outputs = torch.randn(n, 12, generator=generator), torch.randn(n, N_NEURONS, generator=generator)
    codes[torch.arange(n), labels] += strength
    outputs[torch.arange(n), labels % N_NEURONS] += layer
    return Side(torch.relu(codes), outputs, labels)


def fake_baseline(labels: np.ndarray | None = None) -> Any:
    images = SimpleNamespace(name="folder:second", classes=CLASSES, labels=labels)
    first = SimpleNamespace(from_pixels=SimpleNamespace(images=SimpleNamespace(fingerprint="content:first")))
    passes = SimpleNamespace(backbone=SimpleNamespace(device=torch.device("cpu")))
    return SimpleNamespace(images=images, first_set=first, passes=passes)


def measure(train: Side, further: Side, first: Side | LabelledCodes) -> tuple[dict[str, Score], Outcome]:
    """Scores by name, and the outcome with notes and outcomes of images."""
    baseline = fake_baseline()
    method: Any = SimpleNamespace(parents=None, n_units=train.codes.shape[1])
    units: Any = None
    outcome = Outcome(
        method, units, baseline, N_NEURONS, image_codes=ImageCodes(train.pooled(), further.pooled()),
        first_set_codes=first.pooled() if isinstance(first, Side) else first,
    )  # fmt: skip
    return {score.metric: score for score in ProbeTransfer(baseline).compute(outcome)}, outcome


def coded(labels: list[int], unit: list[float], neuron: list[float]) -> Side:
    columns = [torch.tensor(each)[:, None] for each in (unit, neuron)]
    return Side(*columns, torch.tensor(labels))


def test_a_unit_with_the_same_meaning_and_a_neuron_with_the_opposite_one() -> None:
    """The unit is large on bees, on both sets. The neuron is so on the first set, and on three of four images wrong."""
    train = coded([0, 0, 0, 1, 1], [0.0, 0, 0, 1, 1], [0.0, 0, 0, 1, 1])
    further = coded([0, 0, 1, 1], [0.0, 0, 1, 1], [1.0, 1, 0, 1])
    first = coded([0, 1, 1], [0.0, 1, 1], [0.0, 1, 1])
    scores, outcome = measure(train, further, first)
    assert [score.value for score in scores.values()] == [1.0, 0.25, 0.75, 0.0, 0.75]
    assert list(scores) == [
        *("probe_transfer", "probe_transfer_layer", "probe_transfer_gain"),
        *("probe_transfer_drop", "probe_transfer_gain_change"),
    ]
    assert scores["probe_transfer"].details == {
        "first": 1.0, "first_layer": 1.0, "n_first": 3, "majority": 0.5, "n_probing": 5, "n_classes": 2,
        "classes": ["ant", "bee"],
    }  # fmt: skip
    # Differences of 1, 1, 1 and 0: variance 1/4 of four images.
    assert scores["probe_transfer_gain"].uncertainty == pytest.approx(math.sqrt(1 / 4 / 4))
    assert scores["probe_transfer_gain_change"].uncertainty == pytest.approx(math.sqrt(1 / 4 / 4))
    assert scores["probe_transfer"].n == 4 and scores["probe_transfer_drop"].n == 7
    assert [score.direction for score in scores.values()] == ["higher", "none", "higher", "none", "none"]
    both = {"first_set": "content:first"}
    assert [score.params for score in scores.values()] == [None, None, None, both, both]
    counted, right = outcome.image_outcomes["probe_transfer"]
    assert counted.tolist() == right.tolist() == [True] * 4 and not outcome.notes


def test_a_unit_that_changes_its_meaning_loses_everything() -> None:
    train = coded([0, 0, 0, 1, 1], [0.0, 0, 0, 1, 1], [0.0] * 5)
    further = coded([0, 1, 1], [1.0, 0, 0], [0.0, 3, 3])
    scores, _ = measure(train, further, coded([0, 1], [0.0, 1], [0.0, 0]))
    # A neuron that is constant on the first set says nothing: the more frequent class there is predicted.
    assert scores["probe_transfer"].value == 0 and scores["probe_transfer_layer"].value == pytest.approx(1 / 3)
    assert scores["probe_transfer_drop"].value == 1
    assert scores["probe_transfer_gain_change"].value == pytest.approx(-1 / 3 - 1 / 2)


@pytest.mark.parametrize("seed", range(3))
def test_all_scores_are_those_of_scikit_learn(seed: int) -> None:
    classes = ((0, 1, 2), (1, 4), (0, 2, 3, 4))[seed]
    train, further, first = (drawn(n, 10 * seed + k, classes) for k, n in enumerate((90, 70, 50)))

    def right(name: str) -> list[np.ndarray]:
        x = getattr(train, name).double().numpy()
        mean, scale = x.mean(0), x.std(0, ddof=1)
        model = LogisticRegression(C=1.0, max_iter=2000).fit((x - mean) / scale, train.labels.numpy())
        return [
            (model.predict((getattr(side, name).double().numpy() - mean) / scale) == side.labels.numpy()).astype(float)
            for side in (further, first)
        ]

    (units, units_first), (layer, layer_first) = right("codes"), right("layer")
    scores, outcome = measure(train, further, first)
    gain, first_gain = units - layer, units_first - layer_first
    expected = (
        units.mean(),
        layer.mean(),
        gain.mean(),
        units_first.mean() - units.mean(),
        gain.mean() - first_gain.mean(),
    )
    assert [score.value for score in scores.values()] == pytest.approx(list(map(float, expected)), abs=1e-12)
    variance = gain.var(ddof=1) / 70
    assert scores["probe_transfer_gain"].uncertainty == pytest.approx(math.sqrt(variance))
    change = scores["probe_transfer_gain_change"].uncertainty
    assert change == pytest.approx(math.sqrt(variance + first_gain.var(ddof=1) / 50))
    assert outcome.image_outcomes["probe_transfer"][1].tolist() == (units > 0).tolist()


def test_classes_that_only_one_set_has_take_no_part() -> None:
    train, further, first = (drawn(n, k, (0, 1, 2, 3, 4)) for k, n in enumerate((150, 120, 90)))
    shared, _ = measure(train.without(3), further.without(2, 4), first)
    by_hand, _ = measure(train.without(2, 3, 4), further.without(2, 3, 4), first.without(2, 3, 4))
    assert shared == by_hand and shared["probe_transfer"].details is not None
    assert shared["probe_transfer"].details["classes"] == ["ant", "bee"]
    assert shared["probe_transfer"].n == len(further.without(2, 3, 4).labels)


def test_a_planted_shift_is_told_from_none() -> None:
    """On the further set the neurons carry no class any more, and the units do."""
    train, first = drawn(400, 0, strength=3, layer=3), drawn(300, 1, strength=3, layer=3)
    kept, _ = measure(train, drawn(300, 2, strength=3, layer=3), first)
    shifted, _ = measure(train, drawn(300, 3, strength=3, layer=0), first)

    def far(score: Score) -> float:
        assert score.uncertainty is not None
        return score.value / score.uncertainty

    assert abs(far(kept["probe_transfer_drop"])) < 3 and abs(far(kept["probe_transfer_gain_change"])) < 3
    assert far(shifted["probe_transfer_gain"]) > 10 and far(shifted["probe_transfer_gain_change"]) > 10
    assert abs(shifted["probe_transfer_layer"].value - 1 / 3) < 0.1


def test_codes_without_meaning_are_at_chance_and_dead_units_predict_the_most_frequent_class() -> None:
    train, further, first = (drawn(300, k, strength=0) for k in range(3))
    scores, _ = measure(train, further, first)
    assert abs(scores["probe_transfer"].value - 1 / 3) < 0.1
    for side in (train, further, first):
        side.codes = torch.zeros_like(side.codes)
    scores, _ = measure(train, further, first)
    assert scores["probe_transfer"].details is not None
    assert scores["probe_transfer"].value == scores["probe_transfer"].details["majority"]


@pytest.mark.parametrize(
    ("further", "words"),
    [((3, 4), "images of 0 of the classes"), ((2, 3), r"images of 1 of the classes of the probing images \('cat'\)")],
)
def test_fewer_than_two_shared_classes_are_a_note_and_no_score(further: tuple[int, ...], words: str) -> None:
    scores, outcome = measure(drawn(50, 0), drawn(40, 1, further), drawn(30, 2))
    assert not scores and not outcome.image_outcomes and len(outcome.notes) == 1
    assert re.search(words, outcome.notes[0])
    assert "'folder:second'" in outcome.notes[0] and "name the classes of both sets alike" in outcome.notes[0]


def test_an_unlabelled_set_is_a_note_and_no_score() -> None:
    unlabelled = drawn(40, 1).without(0, 1, 2)
    scores, outcome = measure(drawn(50, 0), unlabelled, drawn(30, 2))
    assert not scores and "images of 0 of the classes" in outcome.notes[0]


@pytest.mark.parametrize("readable", [True, False])
def test_without_images_of_the_first_set_nothing_is_said_about_it(readable: bool) -> None:
    nothing = drawn(30, 2).without(0, 1, 2).pooled()
    if not readable:
        empty = torch.zeros(0, 0)
        nothing = LabelledCodes(nothing.image, nothing.labels, empty, empty, empty, empty, 0)
    scores, _ = measure(drawn(50, 0), drawn(40, 1), nothing)
    assert list(scores) == ["probe_transfer", "probe_transfer_layer", "probe_transfer_gain"]
    assert scores["probe_transfer"].details is not None and scores["probe_transfer"].details["first"] is None


def test_one_image_of_the_first_set_gives_no_error_of_the_change() -> None:
    further, labels = drawn(40, 1), torch.tensor([0, 1])
    two = Side(further.codes[:2], further.layer[:2], labels)
    scores, _ = measure(drawn(50, 0), two, Side(two.codes[:1], two.layer[:1], labels[:1]))
    assert scores["probe_transfer_gain_change"].uncertainty is None and scores["probe_transfer"].uncertainty


def test_codes_of_the_probing_images_that_are_nan_are_an_error() -> None:
    train = drawn(50, 0)
    train.codes[3, 2] = math.nan
    with pytest.raises(Exception, match="NaN or infinity"):
        measure(train, drawn(40, 1), drawn(30, 2))


def test_it_applies_to_further_sets_only() -> None:
    method: Any = SimpleNamespace(n_units=3)
    baseline = fake_baseline()
    assert ProbeTransfer.applies(method, baseline)
    assert not ProbeTransfer.applies(SimpleNamespace(n_units=0), baseline)  # type: ignore[arg-type]
    baseline.first_set = None
    assert not ProbeTransfer.applies(method, baseline)
