"""Labels of stored cells: right on planted units, kept, stored with scores, and refused with a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import harness
from harness.errors import UserError
from harness.planted.truth import truth_of
from harness.progress import Silent
from harness.steering import label_units
from harness.steering.label_scores import label_agreement, label_scores
from harness.steering.label_table import labels_frame
from harness.steering.labelling import best_labelled
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, ProbabilityScorer, Scored
from harness.steering.stored_layers import stored_layers
from harness.suites import Suite
from methods.base import Progress
from results import Store, open_store
from results.store.labels import labellings, unit_labels

pytestmark = pytest.mark.run


class PlantedScorer(ProbabilityScorer):
    """Probabilities of the concepts by their strengths in each image."""

    name = "planted"
    version = 1

    def identity(self, images: Any) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")

    def probabilities(self, images: Images, progress: Progress) -> tuple[tuple[str, ...], Tensor]:
        concepts = images.images.classes
        labels = torch.from_numpy(images.images.labels[images.readable])
        noise = torch.rand(len(labels), len(concepts), generator=torch.Generator().manual_seed(1))
        return concepts, torch.softmax(3 * torch.nn.functional.one_hot(labels, len(concepts)).float() + noise, 1)


@pytest.fixture(scope="module")
def scorer() -> Iterator[str]:
    SCORERS.add("planted", PlantedScorer)
    yield "planted"
    del SCORERS.entries["planted"]


def truths(store: Store, suite: Suite) -> list[str]:
    """Return the concept of each planted part."""
    (layer,) = stored_layers(suite, store, device="cpu")
    truth = truth_of(layer.prepared.site)
    assert truth is not None and truth.parts is not None
    return [layer.prepared.evaluation.classes[number] for number in truth.parts.concept.tolist()]


def test_planted_units_get_the_right_label_by_either_similarity(planted: tuple[Store, Suite], scorer: str) -> None:
    store, suite = planted
    right = truths(store, suite)
    for labelled in label_units(store, suite, scorers=("classes", scorer), methods=("oracle",)):
        best = unit_labels(store, labelled.cell_id, labelled.labelling, most=1).set_index("unit")["label"]
        share = np.mean([best[unit] == concept for unit, concept in enumerate(right)])
        assert len(best) == len(right) and share >= 0.95, (labelled.scorer, share)
        scores = {score.metric: score for score in labelled.scores}
        assert scores["labelled_share"].value == 1 and scores["distinct_labels"].value == len(set(right))
    stored = store.scores(cell_id=labelled.cell_id).set_index("metric")
    assert stored.loc["label_agreement", "value"] > 0.95


def test_labels_are_kept_until_they_are_wanted_anew(planted: tuple[Store, Suite]) -> None:
    store, suite = planted
    first = label_units(store, suite, scorers=("classes",), methods=("random_split",))
    again = label_units(store, suite, scorers=("classes",), methods=("random_split",))
    assert again[0].kept and again[0].scores == first[0].scores and again[0].labelling == first[0].labelling
    times = labellings(store, [first[0].cell_id])["labelled_at"]
    anew = label_units(store, suite, scorers=("classes",), methods=("random_split",), anew=True)
    assert not anew[0].kept and anew[0].scores == first[0].scores
    assert labellings(store, [first[0].cell_id])["labelled_at"][0] > times[0]
    other = label_units(store, suite, scorers=("classes",), methods=("random_split",), split="probing")
    assert other[0].labelling != first[0].labelling and len(labellings(store, [first[0].cell_id])) == 2
    top = best_labelled(store, first[0].cell_id, first[0].labelling, 3)
    assert len(top) == 3 and all(row["p_value"] <= 0.05 for row in top)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scorers": ("clasifier",)}, "Did you mean classifier"),
        ({"scorers": ()}, "No scorer is given"),
        ({"scorers": ("classes",), "settings": {"classes": {"nonsense": 1}}}, "no setting 'nonsense'"),
        ({"scorers": ("classes",), "settings": {"classes": {"draws": 1}}}, "draws = 1"),
        ({"scorers": ("classes",), "settings": {"clip": {}}}, "settings of the scorer 'clip'"),
        ({"scorers": ("classes",), "split": "training"}, "split = 'training'"),
        ({"scorers": ("classes",), "methods": ("elude",)}, "no cell of the method 'elude'"),
        ({"scorers": ("classes",), "methods": ("oracle",), "cells": ("truth",)}, "cells or methods, not both"),
        ({"scorers": ("classes",), "cells": ("ffffffff",)}, "There is no cell 'ffffffff'"),
        ({"scorers": ("classifier",), "settings": {"classifier": {"backbone": "dinov2_small_saliency"}}}, "a head of"),
        ({"scorers": ("clip",), "settings": {"clip": {"template": "a photo"}}}, "it must contain {} once"),
        ({"scorers": ("clip",), "settings": {"clip": {"model": "efficientnet_lite0"}}}, "a model with a text tower"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    planted: tuple[Store, Suite], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words.replace("{}", r"\{\}")):
        label_units(*planted, **options)


def test_cells_of_other_images_are_not_labelled_with_these(planted: tuple[Store, Suite]) -> None:
    store, _ = planted
    with pytest.raises(UserError, match=r"No finished cell of .* is on a layer of the suite 'demo'"):
        label_units(store, harness.load_suite("demo"), scorers=("classes",))


def test_the_frame_of_labels_orders_and_leaves_out() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0], [torch.nan, -torch.inf, 2.0], [-torch.inf] * 3])
    null = torch.tensor([[2.0, 5.0, torch.nan]] * 19 + [[9.0, 5.0, torch.nan]])
    frame = labels_frame(Scored(("a", "b", "c"), scores, null))
    rows = frame[["unit", "rank", "label", "score"]].values.tolist()
    assert rows == [[0, 1, "b", 3.0], [0, 2, "c", 3.0], [0, 3, "a", 1.0], [1, 1, "c", 2.0]]
    np.testing.assert_allclose(frame["p_value"], [2 / 21, 2 / 21, 21 / 21, 21 / 21])


def test_scores_of_labels() -> None:
    frame = pd.DataFrame(
        {"unit": range(4), "rank": 1, "label": ["a", "a", "b", "c"], "p_value": [0.01, 0.05, 0.04, 0.06]}
    )
    settings = {"images": "x", "scorer": "s", "model": "hf:here"}
    share, distinct = label_scores(frame, settings, n_units=6, chance_shares=[0.0, 0.1])
    assert share.value == 0.5 and share.n == 6 and share.direction == "higher"
    assert share.details is not None and share.details["chance"] == 0.05
    assert share.uncertainty == pytest.approx(np.std([0.0, 0.1], ddof=1))
    assert distinct.value == 2 and distinct.n == 3
    # Neither images nor the name of a network decide what is ranked together.
    assert label_scores(frame, {**settings, "images": "y", "model": "z"}, n_units=6)[0].params == share.params
    assert label_scores(frame, {**settings, "top_k": 7}, n_units=6)[0].params != share.params
    assert label_scores(frame, {"own_network": True}, n_units=6)[0].direction == "none"
    empty = label_scores(frame[:0], {}, n_units=0)
    assert np.isnan(empty[0].value) and empty[1].value == 0


def test_agreement_is_that_of_partitions() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 400)

    def frame(names: Any) -> pd.DataFrame:
        return pd.DataFrame({"unit": range(400), "rank": 1, "label": [str(name) for name in names], "p_value": 0.01})

    assert label_agreement(frame(labels), frame(labels + 10)) == (1.0, 400)
    value, n = label_agreement(frame(labels), frame(generator.integers(0, 5, 400)))
    assert abs(value) < 0.05 and n == 400
    assert np.isnan(label_agreement(frame(labels)[:5], frame(labels))[0])
    assert np.isnan(label_agreement(frame(labels), frame(0 * labels))[0]), "one label for all units"
    assert np.isnan(label_agreement(frame(labels), frame(range(400)))[0]), "each unit another label"


class Odd(PlantedScorer):
    """Scorer that returns what a test sets."""

    name = "odd"
    result: Any = None

    def score(self, activations: Tensor, images: Images, *, progress: Any = None) -> Any:
        activations.zero_()
        return self.result


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("no", "score must return a Scored"),
        (Scored(("a",), np.zeros((48, 1)), torch.zeros(2, 48)), "no tensors"),  # type: ignore[arg-type]
        (Scored((), torch.zeros(48, 0), torch.zeros(2, 48)), "0 concepts"),
        (Scored((1,), torch.zeros(48, 1), torch.zeros(2, 48)), "one or more texts"),  # type: ignore[arg-type]
        (Scored(("a\x1b",), torch.zeros(48, 1), torch.zeros(2, 48)), "without control characters"),
        (Scored(("x" * 201,), torch.zeros(48, 1), torch.zeros(2, 48)), "1 to 200 characters"),
        (Scored(("a",), torch.zeros(47, 1), torch.zeros(2, 48)), r"scores must be \(48, 1\)"),
        (Scored(("a",), torch.zeros(48, 1), torch.zeros(0, 48)), "at least one draw"),
    ],
)
def test_what_a_scorer_returns_is_checked(
    planted: tuple[Store, Suite], result: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "result", result)
    SCORERS.add("odd", Odd)
    try:
        with pytest.raises(UserError, match=words):
            label_units(*planted, scorers=("odd",), methods=("random_split",))
    finally:
        del SCORERS.entries["odd"]


def test_the_fit_of_another_cell_is_not_labelled_and_the_others_are(
    planted: tuple[Store, Suite], tmp_path: Any
) -> None:
    store, suite = planted
    path = shutil.copytree(store.path.parent, tmp_path / "copy") / store.path.name
    copied = open_store(path, read_only=False)
    with copied.writing() as opened:
        opened.execute(
            "UPDATE cells SET artifact = (SELECT artifact FROM cells WHERE method = 'oracle') "
            "WHERE method = 'random_split'"
        )
    said: list[str] = []

    class Listening(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    labelled = label_units(copied, suite, scorers=("classes",), anew=True, reporter=Listening())
    assert {cell.label for cell in labelled} >= {"truth"} and not any("split" in cell.label for cell in labelled)
    assert any("random split" in sentence and "another method" in sentence for sentence in said)
