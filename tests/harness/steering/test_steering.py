"""Steering of stored cells: the identity without an edit, what raises a class, controls at 0, and refusals."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.activations.interventions import edit_of
from harness.errors import UserError
from harness.steering import SteerSettings, label_units, score_steering, steer
from harness.steering.concept_units import concept_units
from harness.steering.effects import divergence, log_odds, target_gain
from harness.steering.kept_effects import gained_and_lost, kept_result
from harness.steering.steered_passes import SteeredPasses
from harness.steering.steering_score import ScoreSettings, over_log
from harness.steering.stored_layers import StoredLayer, stored_layers
from harness.suites import Suite
from results import Store
from results.store.steerings import steerings

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def labelled(planted: tuple[Store, Suite]) -> tuple[Store, Suite, dict[str, str]]:
    """The store with labels, and the cells by the name of the row."""
    store, suite = planted
    cells = label_units(store, suite, scorers=("classes",))
    return store, suite, {cell.label: cell.cell_id for cell in cells}


Labelled = tuple[Store, Suite, dict[str, str]]


@pytest.fixture(scope="module")
def layer(labelled: Labelled) -> StoredLayer:
    store, suite, _ = labelled
    (opened,) = stored_layers(suite, store, device="cpu")
    return opened


def test_an_edit_of_nothing_changes_no_logit_by_a_bit(layer: StoredLayer) -> None:
    nothing, ones = (edit_of(units, [], alpha=1.0, gamma=0.0, patches=3) for units in ([], [0, 1, 5]))
    for row in layer.cells:
        for images in (None, np.asarray([2, 5])):
            passes = SteeredPasses(layer, layer.method(row), images)
            clean = passes.clean()
            for edit in (nothing, ones):
                assert torch.equal(passes.edited(edit)[0].logits, clean.logits), row["label"]
            changed, touched = passes.edited(edit_of([0, 1, 5], [], alpha=9.0, gamma=0.0, patches=3))
            # These units of the autoencoder may be silent.
            assert row["method"] == "topk_sae" or not torch.equal(changed.logits, clean.logits)
            assert touched.mask.sum(1).unique().tolist() == [3] and touched.mask.shape[2] == 3


def test_the_change_of_random_units_has_the_norm_of_the_edit_and_the_draw_of_an_image_its_seed(
    layer: StoredLayer,
) -> None:
    method = layer.method(layer.cells[0])
    edit = edit_of([0, 3], [7], alpha=4.0, gamma=-2.0, patches=2)
    norms: dict[str, list[torch.Tensor]] = {"edit": [], "control": []}
    site = layer.prepared.site
    replace = site.replace

    def spying(name: str) -> Any:
        def run(network: Any, images: Any, tap: Any) -> Any:
            def measured(q: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
                output = tap(q, a)
                norms[name].append((output - a).flatten(1).norm(dim=1))
                return output

            return replace(network, images, measured)

        return run

    passes = SteeredPasses(layer, method)
    try:
        site.replace = spying("edit")  # type: ignore[method-assign]
        sizes = passes.edited(edit)[1].size
        site.replace = spying("control")  # type: ignore[method-assign]
        first = passes.control(edit, sizes, 1)
    finally:
        site.replace = replace  # type: ignore[method-assign]
    torch.testing.assert_close(torch.cat(norms["control"]), torch.cat(norms["edit"]), rtol=1e-3, atol=1e-4)
    assert torch.equal(first.logits, passes.control(edit, sizes, 1).logits)
    assert not torch.equal(first.logits, passes.control(edit, sizes, 2).logits)
    some = SteeredPasses(layer, method, np.asarray([4, 9])).control(edit, sizes[[4, 9]], 1)
    torch.testing.assert_close(some.logits, first.logits[[4, 9]], rtol=1e-4, atol=1e-4)


def test_amplifying_a_planted_concept_raises_its_class_more_than_random_units_do(labelled: Labelled) -> None:
    store, suite, cells = labelled
    settings = SteerSettings(amplify=("concept 03",), alpha=5.0, kappa=4, nu=None, matcher="words")
    steered = steer(store, suite, cells["truth"], settings)
    assert {unit.label for unit in steered.units} == {"concept 03"} and len(steered.units) == 4
    assert {unit.factor for unit in steered.units} == {5.0}
    gained, _ = gained_and_lost(steered)
    assert gained[0][0] == "concept 03"
    number = steered.classes.index("concept 03")
    labels = [image for image in steered.images if image.before[number] > 0.5]
    assert labels and all(image.after[number] >= image.before[number] for image in labels)
    change = steered.mean("after")[number] - steered.mean("before")[number]
    assert change > abs(steered.mean("control")[number] - steered.mean("before")[number])
    assert steered.grid == 4 and all(image.touched for image in steered.images)


def test_suppressing_takes_a_class_away_and_a_unit_of_both_is_amplified(labelled: Labelled) -> None:
    store, suite, cells = labelled
    both = SteerSettings(amplify=("concept 03",), suppress=("concept 03", "concept 05"), kappa=4, matcher="words")
    units = concept_units(store, cells["truth"], both).units
    assert {(unit.concept, unit.factor) for unit in units} == {("concept 03", 5.0), ("concept 05", -50.0)}
    settings = SteerSettings(suppress=("concept 03",), gamma=0.0, kappa=4, nu=None, matcher="words")
    steered = steer(store, suite, cells["truth"], settings)
    _, lost = gained_and_lost(steered)
    assert lost[0][0] == "concept 03"


def test_images_are_chosen_by_index_or_name_and_effects_are_kept(labelled: Labelled) -> None:
    store, suite, cells = labelled
    settings = SteerSettings(amplify=("concept 03",), kappa=2, nu=2, matcher="words")
    every = steer(store, suite, cells["truth"], settings)
    name = every.images[6].name
    one = steer(store, suite, cells["truth"], settings, images=[name], keep=True)
    assert [image.name for image in one.images] == [name]
    np.testing.assert_allclose(one.images[0].after, every.images[6].after, rtol=1e-3, atol=1e-4)
    assert one.images[0].touched == every.images[6].touched
    steer(store, suite, cells["truth"], settings, images=[6], keep=True)
    (row,) = steerings(store, [cells["truth"]]).to_dict("records")
    assert row["kind"] == "classes" and row["result"] == kept_result(one)
    assert row["settings"]["images"] == [6] and row["result"]["images"][0]["name"] == name


@pytest.mark.parametrize(
    ("cell", "changes", "images", "words"),
    [
        ("truth", {"amplify": ("zebra",)}, None, "No unit's label is similar enough to 'zebra'"),
        ("truth", {"scorer": "clip"}, None, "has no labels by 'clip'"),
        ("truth", {"alpha": math.inf}, None, "alpha = inf"),
        ("truth", {"kappa": 0}, None, "kappa = 0"),
        ("truth", {"nu": -1}, None, "nu = -1"),
        ("truth", {}, [10_000], "There is no evaluation image 10000"),
        ("truth", {}, ["no such image"], "0 evaluation images match 'no such image'"),
        ("truth", {}, [], "No image is chosen"),
        ("nothing", {}, None, "There is no cell 'nothing'"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    labelled: Labelled, cell: str, changes: dict[str, Any], images: Any, words: str
) -> None:
    store, suite, cells = labelled
    settings = SteerSettings(amplify=("concept 03",), matcher="words")._replace(**changes)
    with pytest.raises(UserError, match=words):
        steer(store, suite, cells.get(cell, cell), settings, images=images)


def test_a_cell_without_labels_says_how_to_get_them(labelled: Labelled) -> None:
    store, suite, cells = labelled
    cell, change = cells["random split"], "UPDATE labellings SET cell_id = ? WHERE cell_id = ?"
    with store.writing() as opened:
        opened.execute(change, ["elsewhere", cell])
    try:
        with pytest.raises(UserError, match=r"have no labels: run `harness label --cell"):
            steer(store, suite, cell, SteerSettings(amplify=("concept 03",), matcher="words"))
    finally:
        with store.writing() as opened:
            opened.execute(change, [cell, "elsewhere"])


def test_the_score_tells_planted_units_from_random_ones(labelled: Labelled) -> None:
    store, suite, cells = labelled
    settings = ScoreSettings(kappa=4, alphas=(2.0, 5.0), patches=None)
    random = {cell.label: cell for cell in score_steering(store, suite, settings, random_units=True)}
    assert not len(store.scores(cell_id=cells["truth"]).query("metric == 'steering_effect'"))
    scored = {cell.label: cell for cell in score_steering(store, suite, settings)}
    for label in ("truth", "random split"):
        score, null = scored[label].scores[0], random[label].scores[0]
        assert score.metric == "steering_effect" and score.n == 12 and score.uncertainty_kind == "classes"
        assert score.value is not None and score.uncertainty is not None and score.value > 5 * score.uncertainty
        assert null.value is not None and null.uncertainty is not None and abs(null.value) < 3 * null.uncertainty
        effects = scored[label].effects
        assert np.isclose(score.value, np.mean([effect.score for effect in effects]))
    stored = store.scores(cell_id=cells["truth"]).set_index("metric")
    assert stored.loc["steering_effect", "value"] == scored["truth"].scores[0].value
    with pytest.raises(UserError, match="alphas = "):
        score_steering(store, suite, ScoreSettings(alphas=(5.0, 2.0)))


def test_effects_in_closed_form() -> None:
    before, after = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    target = torch.tensor([True, False])
    assert target_gain(before, after, target).tolist() == pytest.approx([1.0, 0.0])
    p = 1 / (1 + math.exp(-1))
    assert divergence(before, after).tolist() == pytest.approx(
        [0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p)), 0.0]
    )
    three = torch.tensor([[1.0, 2.0, 3.0]])
    mass = math.exp(1) + math.exp(2)
    assert log_odds(three, torch.tensor([True, True, False])).item() == pytest.approx(math.log(mass) - 3)
    assert over_log((2.0, 4.0, 8.0), [0.0, 1.0, 2.0]) == pytest.approx(1.0) and over_log((5.0,), [7.0]) == 7.0


def test_random_units_are_edited_as_the_units_of_an_edit_are(layer: StoredLayer) -> None:
    """A draw of one image, made again by hand and given to the other computation."""
    from harness.activations.interventions import Edit, intervened, random_change
    from harness.identity import seed_of

    for row in layer.cells:
        method = layer.method(row)
        tokens = next(iter(layer.baseline.passes.tokens(np.asarray([5]))))
        positions = layer.prepared.site.positions(tokens.a.shape[1])
        edit = edit_of([0, 1, 2], [], alpha=3.0, gamma=0.0, patches=2)
        change = random_change(method, edit, tokens.q, tokens.a, positions, [5], 7)
        x = tokens.q if method.spec.reads == "input" else tokens.a
        active = (method.encode(x[0].clone()) > 0).any(0)
        active[:3] = False
        candidates = active.nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed_of("random units", 7, 5))
        units = candidates[torch.randperm(len(candidates), generator=generator)[:3]]
        by_hand = intervened(method, Edit(units, torch.full((len(units),), 3.0), 2), tokens.q, tokens.a, positions)
        torch.testing.assert_close(change, by_hand.output - tokens.a, rtol=1e-3, atol=1e-4)
        assert float(change.abs().max()) > 0, row["label"]


def test_images_without_random_units_are_left_out_of_the_score(layer: StoredLayer) -> None:
    row = next(row for row in layer.cells if row["method"] == "topk_sae")
    method = layer.method(row)
    every = edit_of(list(range(method.n_units)), [], alpha=3.0, gamma=0.0, patches=None)
    passes = SteeredPasses(layer, method)
    control = passes.control(every, passes.edited(every)[1].size, 1)
    assert bool(control.missing.all()), "all units are edited, so that no other one is left"


def test_many_images_and_classes_are_sampled(layer: StoredLayer) -> None:
    from harness.steering.steering_score import class_targets, score_images

    settings = ScoreSettings(classes=3, images=40)
    targets = class_targets(layer, settings)
    assert len(targets.labels) == 3 and targets == class_targets(layer, settings)._replace(masks=targets.masks)
    chosen = score_images(layer, targets, settings)
    labels = layer.prepared.evaluation.labels
    assert chosen is not None and len(chosen) <= 40 and bool((np.diff(chosen) > 0).all())
    assert all((labels[chosen] == number).sum() >= 5 for number in targets.labels)
    assert len(set(labels[chosen])) > 6 and score_images(layer, targets, ScoreSettings()) is None


def test_a_class_without_readable_images_is_left_out_of_the_score(layer: StoredLayer) -> None:
    from harness.steering.steering_score import class_effects, class_targets

    settings = ScoreSettings(kappa=4, alphas=(2.0,), patches=None, controls=2, classes=3)
    targets, baseline = class_targets(layer, settings), layer.baseline
    labels = layer.prepared.evaluation.labels[baseline.index]
    kept = baseline.index[labels != targets.labels[0]]
    some = dataclasses.replace(baseline, passes=baseline.passes.of_images(kept), index=kept)
    names = {name: getattr(layer, name) for name in ("prepared", "probing_passes", "cells", "method")}
    unreadable: Any = SimpleNamespace(**names, baseline=some)
    row = next(row for row in layer.cells if row["method"] == "topk_sae")
    effects = class_effects(unreadable, layer.method(row), targets, settings)
    classes = layer.prepared.evaluation.classes
    assert [effect.name for effect in effects] == [classes[number] for number in targets.labels[1:]]
