"""Spurious-correlation removal: one unit that carries the attribute, a brute-force twin, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import harness
from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.check.metrics import check_metric
from harness.check.world import CheckWorld, small_world
from harness.metrics.base import Outcome, Score
from harness.metrics.scr import (
    ATTRIBUTES,
    LEAST_GAP,
    MOST_PAIRS,
    Case,
    SpuriousCorrelationRemoval,
    both_views,
    cases_of,
    class_jackknife,
    class_pairs,
    removed,
)
from results import open_store

N_CLASSES, WIDTH = 3, 16
NAMES = ["scr", "scr_2", "scr_5", "scr_random"]


class Linear:
    """A method whose units add their directions (n_units, d_out) to the output."""

    spec = SimpleNamespace(reads="output", name="linear", virtual=False)
    parents = None
    decode_reads_input = False

    def __init__(self, directions: Tensor) -> None:
        self.directions, self.n_units = directions, len(directions)

    def reconstruct(self, codes: Tensor, x: Tensor) -> Tensor:
        return codes @ self.directions + 3.0


def side(codes: Tensor, outputs: Tensor, labels: Tensor, image: Tensor | None = None) -> LabelledCodes:
    image = torch.arange(len(labels)) if image is None else image
    return LabelledCodes(image, labels, codes, outputs, codes, outputs, len(labels))


def views(n: int, seed: int, directions: Tensor, strength: float = 4.0) -> dict[str, LabelledCodes]:
    """Images with one unit per class (0 to N_CLASSES - 1); each attribute adds to the unit 3 (border) or 4 (tint)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    codes = 0.5 + 0.3 * torch.rand(n, len(directions), generator=generator)
    codes[torch.arange(n), labels] += 0.5
    codes[:, 3:5] = 1e-3
    made = {"plain": side(codes, codes @ directions, labels)}
    for unit, name in enumerate(ATTRIBUTES, 3):
        marked = codes.clone()
        marked[:, unit] += strength
        made[name] = side(marked, marked @ directions, labels)
    return made


def drawn_directions() -> Tensor:
    """One output per unit, except for the attributes, which write to 11, so that biased probes follow them."""
    directions = torch.eye(WIDTH)
    directions[3:5, 5:] = 1
    return directions


def outcome_of(train: dict[str, LabelledCodes], test: dict[str, LabelledCodes], directions: Tensor) -> Outcome:
    images = [SimpleNamespace(labels=each["plain"].labels.numpy()) for each in (test, train)]
    passes = SimpleNamespace(
        site=SimpleNamespace(d_out=WIDTH, d_in=WIDTH), backbone=SimpleNamespace(device=torch.device("cpu"))
    )
    baseline: Any = SimpleNamespace(images=images[0], probing=SimpleNamespace(images=images[1]), passes=passes)
    method: Any = Linear(directions)
    units: Any = None
    return Outcome(
        method,
        units,
        baseline,
        WIDTH,
        image_codes=ImageCodes(train["plain"], test["plain"]),
        altered_codes=lambda alteration, split: (train if split == "probing" else test)[alteration.id],
    )


def measure(outcome: Outcome) -> dict[str, Score]:
    assert SpuriousCorrelationRemoval.applies(outcome.method, outcome.baseline)
    return {score.metric: score for score in SpuriousCorrelationRemoval(outcome.baseline).compute(outcome)}


def of_strength(strength: float, directions: Tensor | None = None) -> tuple[dict[str, Score], list[str]]:
    directions = drawn_directions() if directions is None else directions
    outcome = outcome_of(views(60, 0, directions, strength), views(90, 1, directions, strength), directions)
    return measure(outcome), outcome.notes


@pytest.fixture(scope="module")
def planted() -> dict[str, Score]:
    scores, notes = of_strength(4.0)
    assert notes == []
    return scores


def test_ablating_the_unit_of_the_attribute_removes_the_bias(planted: dict[str, Score]) -> None:
    assert list(planted) == NAMES
    main = planted["scr"]
    # Three pairs of classes, two attributes, and either class may have the attribute.
    assert main.n == 3 * 2 * 2 and main.uncertainty_kind == "jackknife over classes"
    assert [planted[name].value for name in ("scr", "scr_2", "scr_5")] == pytest.approx([1, 1, 1])
    assert main.uncertainty == pytest.approx(0) and main.unit == ""


def test_setting_that_unit_to_zero_removes_nothing(planted: dict[str, Score]) -> None:
    """All images then look like those without the attribute, which the biased probe takes for one class."""
    details = planted["scr"].details
    assert details is not None and details["zeroed"] == pytest.approx(0)
    assert details["accuracy"]["zeroed"]["2"] == pytest.approx(0.5)


def test_random_units_remove_nothing(planted: dict[str, Score]) -> None:
    # One or two of 16 units are drawn, which hold the attribute's in one draw of 8 to 16.
    assert 0 <= planted["scr_random"].value < 0.25 and planted["scr_random"].direction == "none"


def test_details_hold_the_levels_and_the_size_of_what_is_taken_away(planted: dict[str, Score]) -> None:
    details = planted["scr"].details
    assert details is not None
    accuracy, size = details["accuracy"], details["size"]
    assert [accuracy["biased"], accuracy["oracle"], accuracy["ablated"]["2"]] == pytest.approx([0.5, 1, 1])
    assert 0.5 <= accuracy["random"]["2"] < 0.6
    # The unit is 0 or 4, and changes 12 outputs by 2. The outputs of about .65 add to those of 4, so that the norms are
    # 2.5 and 15.7.
    expected = 2 * 12**0.5 * (1 / 2.5 + 1 / 15.7) / 2
    assert size["ablated"]["2"] == pytest.approx(expected, rel=0.05)
    assert size["random"]["2"] < size["ablated"]["2"] / 2
    values = [details[name] for name in ATTRIBUTES]
    assert np.mean(values) == pytest.approx(planted["scr"].value)
    assert planted["scr"].params == {"attributes": {"border": [1, 5], "tint": [1, 5]}, "ns": [2, 5]}


def test_units_that_mix_the_attribute_with_all_others_remove_less() -> None:
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]

    def mixed(n: int, seed: int) -> dict[str, LabelledCodes]:
        of = views(n, seed, drawn_directions())
        return {name: side(each.mean_layer @ rotation.T, each.mean_layer, each.labels) for name, each in of.items()}

    scores = measure(outcome_of(mixed(60, 0), mixed(90, 1), rotation))
    assert scores["scr_2"].value < 0.5


def test_an_attribute_that_does_not_bias_the_probes_has_no_value() -> None:
    scores, notes = of_strength(0.0)
    assert scores == {}
    assert notes == [
        f"scr: 12 of 12 biased probes are left out, since the accuracy of the unbiased probe is not {LEAST_GAP} above "
        "theirs."
    ]


def test_probes_without_a_gap_are_left_out_one_by_one() -> None:
    directions = drawn_directions()
    train, test = views(60, 0, directions), views(90, 1, directions)
    for of in (train, test):
        of["tint"] = of["plain"]
    outcome = outcome_of(train, test, directions)
    scores = measure(outcome)
    assert scores["scr"].n == 6 and len(outcome.notes) == 1 and "6 of 12 biased probes" in outcome.notes[0]
    assert scores["scr"].details is not None and "tint" not in scores["scr"].details


def slow_cases(
    attribute: str, train: dict[str, LabelledCodes], test: dict[str, LabelledCodes], directions: np.ndarray, n: int
) -> list[list[float]]:
    """Accuracy of the unbiased probe, and of the biased one as it is, with units at their mean and at zero."""

    def stack(of: dict[str, LabelledCodes], pair: tuple[int, int]) -> tuple[np.ndarray, ...]:
        rows: list[tuple[Any, ...]] = []
        for has, name in ((False, "plain"), (True, attribute)):
            for index, label in enumerate(of[name].labels.tolist()):
                if label in pair:
                    codes, layer = of[name].mean_codes[index].numpy(), of[name].mean_layer[index].numpy()
                    rows.append((codes.astype(float), layer.astype(float), label == pair[0], has))
        codes, layer, first, has = (np.asarray(each) for each in zip(*rows, strict=True))
        return codes, layer, first, has

    def probe(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        mean, scale = x.mean(0), np.maximum(x.std(0, ddof=1), 1e-12)
        fitted = LogisticRegression(max_iter=2000, class_weight="balanced").fit((x - mean) / scale, y)
        return fitted.coef_[0] / scale, fitted.intercept_[0] - fitted.coef_[0] @ (mean / scale)

    def accuracy(x: np.ndarray, of: tuple[np.ndarray, float], y: np.ndarray) -> float:
        right = (x @ of[0] + of[1] > 0) == y
        return float((right[y].mean() + right[~y].mean()) / 2)

    cases: list[list[float]] = []
    for pair in combinations(range(N_CLASSES), 2):
        codes, layer, first, has = stack(train, pair)
        test_codes, test_layer, test_first, _ = stack(test, pair)
        contrast = codes[has].mean(0) - codes[~has].mean(0)
        effects = contrast * (directions @ probe(layer, has)[0])
        chosen = [
            unit for unit in sorted(range(len(effects)), key=lambda unit: -effects[unit])[:n] if effects[unit] > 0
        ]
        unbiased = accuracy(test_layer, probe(layer, first), test_first)
        centre = (codes[first].mean(0) + codes[~first].mean(0)) / 2
        at_mean = test_layer - (test_codes[:, chosen] - centre[chosen]) @ directions[chosen]
        at_zero = test_layer - test_codes[:, chosen] @ directions[chosen]
        for biased_rows in (first == has, first != has):
            biased = probe(layer[biased_rows], first[biased_rows])
            outputs = (test_layer, at_mean, at_zero)
            cases.append([unbiased, *(accuracy(x, biased, test_first) for x in outputs)])
    return cases


@pytest.mark.parametrize("seed", range(3))
def test_a_brute_force_twin_has_the_same_accuracies(seed: int) -> None:
    directions = torch.randn(24, WIDTH, generator=torch.Generator().manual_seed(seed)) / 4
    train, test = views(45, 10 + seed, directions), views(60, 20 + seed, directions)
    cases = list(
        cases_of(
            "border",
            both_views(train["plain"], train["border"]),
            both_views(test["plain"], test["border"]),
            directions.double(),
            torch.arange(24),
            [5],
        )
    )
    expected = slow_cases("border", train, test, directions.double().numpy(), 5)
    made = [[case.oracle, case.biased, case.ablated[5], case.zeroed[5]] for case in cases]
    # The twin yields the case in which the first class has the attribute first, too.
    assert np.allclose(made, expected, atol=0.02) and len(made) == 6


def test_rows_of_both_sets_are_matched_by_image() -> None:
    x = torch.arange(5.0)[:, None]
    plain = side(x, x, torch.tensor([0, 1, 0, 1, 0]))
    altered = side(x[1:4] + 10, x[1:4] + 10, torch.tensor([1, 0, 1]), torch.tensor([1, 2, 3]))
    both = both_views(plain, altered)
    assert both.image.tolist() == [1, 2, 3] * 2 and both.labels.tolist() == [1, 0, 1] * 2
    assert both.mean_codes[:, 0].tolist() == [1, 2, 3, 11, 12, 13]
    missing = both_views(altered, plain)
    assert missing.mean_codes[:, 0].tolist() == [11, 12, 13, 1, 2, 3]


def test_pairs_of_many_classes_are_a_seeded_choice() -> None:
    assert class_pairs([4, 7]) == [(4, 7)] and class_pairs([4]) == []
    assert class_pairs(range(7)) == list(combinations(range(7), 2))
    pairs = class_pairs(range(20))
    assert len(set(pairs)) == MOST_PAIRS and pairs == class_pairs(range(20)) and all(a < b for a, b in pairs)
    assert len({number for pair in pairs for number in pair}) > 12


def test_shares_and_their_error_in_closed_form() -> None:
    def case(pair: tuple[int, int], biased: float, oracle: float) -> Case:
        return Case("border", pair, biased, oracle, {}, {}, {}, {}, {})

    cases = [case((0, 1), 0.5, 0.9), case((1, 0), 0.6, 0.8), case((0, 2), 0.5, 1.0), case((1, 2), 0.5, 1.0)]
    shares = removed(cases, [0.7, 0.8, 0.5, 1.1])
    assert shares.tolist() == pytest.approx([0.5, 1.0, 0.0, 1.2])
    # Without the class 0: 1.2; without 1: 0; without 2: .75.
    left = np.asarray([1.2, 0.0, 0.75])
    expected = math.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum())
    assert class_jackknife(shares, [each.pair for each in cases]) == pytest.approx(expected)
    assert class_jackknife(shares[:2], [(0, 1), (1, 0)]) is None
    # Every pair has the class 0.
    assert class_jackknife(shares[:3], [(0, 1), (1, 0), (0, 2)]) is None


def test_two_classes_have_a_value_without_an_error_and_one_class_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.N_CLASSES", 2)
    scores, _ = of_strength(4.0)
    assert scores["scr"].n == 4 and scores["scr"].uncertainty is None
    directions = drawn_directions()
    train, test = views(60, 0, directions), views(4, 1, directions)
    outcome = outcome_of(train, test, directions)
    # Two images of each class to measure are too few.
    assert measure(outcome) == {}
    assert outcome.notes == ["No spurious-correlation removal: fewer than two classes have 3 images in each split."]


def test_decoders_that_read_the_input_and_one_class_are_left_out() -> None:
    reading: Any = SimpleNamespace(spec=Linear.spec, n_units=3, decode_reads_input=True)
    images = SimpleNamespace(labels=np.arange(6) % 2)
    baseline: Any = SimpleNamespace(images=images, probing=SimpleNamespace(images=images))
    assert not SpuriousCorrelationRemoval.applies(reading, baseline)
    reading.decode_reads_input = False
    assert SpuriousCorrelationRemoval.applies(reading, baseline)
    images.labels = np.zeros(6, dtype=int)
    assert not SpuriousCorrelationRemoval.applies(reading, baseline)


def test_silent_units_are_neither_ablated_nor_drawn() -> None:
    directions = drawn_directions()
    outcome = outcome_of(views(60, 0, directions), views(90, 1, directions), directions)
    expected = measure(outcome)

    def padded(of: dict[str, LabelledCodes]) -> dict[str, LabelledCodes]:
        zeros = {name: torch.zeros(len(each.labels), 9) for name, each in of.items()}
        return {
            name: side(torch.cat([each.mean_codes, zeros[name]], 1), each.mean_layer, each.labels)
            for name, each in of.items()
        }

    wide = torch.cat([directions, torch.ones(9, WIDTH)])
    scores = measure(outcome_of(padded(views(60, 0, directions)), padded(views(90, 1, directions)), wide))
    assert [(score.metric, score.value) for score in scores.values()] == [
        (score.metric, score.value) for score in expected.values()
    ]
    silent = outcome_of(
        {name: side(0 * each.mean_codes, each.mean_layer, each.labels) for name, each in views(60, 0, wide).items()},
        views(90, 1, wide),
        wide,
    )
    assert measure(silent) == {}
    assert silent.notes == ["No spurious-correlation removal: fewer than 2 units are active."]


def test_nan_in_the_output_is_refused_and_gives_no_number() -> None:
    directions = drawn_directions()
    train = views(60, 0, directions)
    train["border"].mean_layer[0, 0] = torch.nan
    with pytest.raises(ValueError, match="contains NaN"):
        measure(outcome_of(train, views(90, 1, directions), directions))


def test_images_to_measure_choose_nothing() -> None:
    """Units and probes are the same whatever is measured: an image's accuracy does not depend on the others."""
    directions = drawn_directions()
    train, test = views(60, 0, directions), views(90, 1, directions)
    shuffled = {
        name: side(each.mean_codes.flip(0), each.mean_layer.flip(0), each.labels.flip(0)) for name, each in test.items()
    }
    first, second = (measure(outcome_of(train, each, directions)) for each in (test, shuffled))
    assert [score.value for score in first.values()] == pytest.approx([score.value for score in second.values()])


@pytest.fixture(scope="module")
def world() -> Iterator[CheckWorld]:
    with small_world() as made:
        yield made


def test_it_keeps_the_contract_of_metrics(world: CheckWorld) -> None:
    """Batches of another size give the same scores; every kind of method is measured or left out."""
    findings = check_metric(SpuriousCorrelationRemoval, world)
    assert [(each.check, each.why) for each in findings if not each.ok] == []


def stripes(folder: Path) -> Path:
    """Three classes of 14 pictures: stripes across, down and none, in noise."""
    generator = np.random.default_rng(0)
    for name in ("across", "down", "none"):
        (folder / name).mkdir(parents=True)
        for number in range(14):
            pixels = generator.integers(0, 128, (24, 24, 3), dtype=np.uint8)
            pixels[::4] += np.uint8(127 * (name == "across"))
            pixels[:, ::4] += np.uint8(127 * (name == "down"))
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_run_measures_it(tmp_path: Path) -> None:
    folder = stripes(tmp_path / "images")
    suite = harness.load_suite(
        "demo",
        backbone="tiny_vit",
        dataset=f"folder:{folder}",
        evaluation=18,
        methods=("identity", "pca"),
        token_seeds=(42,),
        settings=["evaluation.metrics=['r2', 'scr']"],
    )
    path = tmp_path / "results.duckdb"
    assert harness.run_suite(suite, path).failed == 0
    store = open_store(path, read_only=True)
    notes = [note for of_cell in store.cells()["notes"] for note in of_cell]
    scores = store.scores()
    measured = scores[scores["metric"] == "scr"]
    assert not any("failed" in note for note in notes)
    assert len(measured) == 2
    assert (measured["unit"] == "").all()
