"""Sentences, figure and overlay of a steering."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("streamlit")

from hypothesis import given
from hypothesis import strategies as st

from results.app.figures.steering import steering_figure
from results.app.screens.steer import suggested
from results.app.steering.choices import ALL, SLIDERS, concepts_of, nearest
from results.app.steering.effect import factor_text, first_of_each, most_changed, overlay
from results.app.steering.finding import caution, steering_finding


def each(name: str, before: float, after: float, control: float = 0.0) -> dict[str, Any]:
    return {"name": name, "before": before, "after": after, "control": control}


@pytest.mark.parametrize(
    ("classes", "finding"),
    [
        ([each("dog", 0.02, 0.31, 0.03)], "“dog” rises from 2.00 % to 31.0 %; random units: 3.00 %"),
        ([each("a", 0.1, 0.2), each("b", 0.9, 0.1, 0.8)], "“b” falls from 90.0 % to 10.0 %; random units: 80.0 %"),
        ([each("a", 0.5, 0.504)], "No class changes by half a percentage point: “a” stays at 50.0 %"),
        ([each("a", 0.0, 1.0, 0.000001)], "“a” rises from 0 % to 100 %; random units: <0.001 %"),
        ([], "The network predicts no classes for this image"),
    ],
)
def test_the_finding_is_the_class_that_changes_most(classes: list[dict[str, Any]], finding: str) -> None:
    assert steering_finding(classes) == finding


@pytest.mark.parametrize(
    ("classes", "divergences", "words"),
    [
        ([each("a", 0.1, 0.5, 0.31)], (1.0, 0.1), "at least half"),
        ([each("a", 0.9, 0.1, 0.2)], (1.0, None), "at least half"),
        ([each("a", 0.1, 0.5, 0.1)], (0.2, 0.3), "at least as much"),
        ([], (0.2, 0.2), "at least as much"),
        # A change in the other direction explains nothing of it.
        ([each("a", 0.5, 0.9, 0.1)], (1.0, 0.5), ""),
        ([each("a", 0.1, 0.5, 0.29)], (1.0, 0.1), ""),
        ([each("a", 0.1, 0.101, 0.101)], (0.001, 0.002), ""),
        ([], (None, None), ""),
    ],
)
def test_random_units_that_do_as_much_are_said(
    classes: list[dict[str, Any]], divergences: tuple[float | None, float | None], words: str
) -> None:
    warning = caution(classes, *divergences)
    assert words in warning and bool(words) == bool(warning)


def test_the_first_units_of_each_concept_are_shown_in_turns() -> None:
    units = [{"unit": number, "concept": concept} for number, concept in enumerate("aaabca")]
    assert first_of_each(units, 4) == [0, 3, 4, 1] and first_of_each(units, 99) == [0, 3, 4, 1, 2, 5]
    assert first_of_each([], 4) == []


def test_the_classes_that_change_most_are_shown_from_gain_to_loss() -> None:
    classes = [
        each("up", 0.1, 0.4),
        each("same", 0.3, 0.3),
        each("down", 0.5, 0.1),
        {**each("odd", 0, 1), "after": None},
    ]
    assert [row["name"] for row in most_changed(classes, 2)] == ["up", "down"]


def test_a_figure_has_two_bars_and_a_line_per_class_with_descriptions() -> None:
    figure = steering_figure([each("dog", 0.02, 0.31, 0.03), each("dog", 0.5, 0.1, 0.4)])
    bars, lines = figure["datasets"]["bars"], figure["datasets"]["lines"]
    assert [(row["name"], row["kind"], row["share"]) for row in bars] == [
        ("dog", "before", 2.0),
        ("dog", "after", 31.0),
        ("dog (2)", "before", 50.0),
        ("dog (2)", "after", 10.0),
    ]
    assert [row["share"] for row in lines] == [3.0, 40.0]
    assert bars[0]["description"] == "dog: before 2.00 %, after 31.0 %, with random units 3.00 %"


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 1000)), min_size=1, max_size=16, unique_by=lambda x: x[0]))
def test_the_overlay_has_a_level_per_patch_that_grows_with_the_units(touched: list[tuple[int, int]]) -> None:
    levels = overlay(touched, 4)
    assert len(levels) == 16 and max(levels) == 255
    counts = dict(touched)
    assert all((levels[position] > 0) == (position in counts) for position in range(16))
    ordered = sorted(counts, key=lambda position: counts[position])
    assert [levels[position] for position in ordered] == sorted(levels[position] for position in ordered)


def test_positions_outside_of_the_grid_are_ignored() -> None:
    assert overlay([(0, 1), (99, 2), (-1, 2)], 2) == bytes([round(80 + 175 / 2), 0, 0, 0])


@pytest.mark.parametrize(
    ("text", "concepts"),
    [("", ()), (" , ,", ()), ("dog", ("dog",)), ("a  b ,c,a b", ("a b", "c")), ("x" * 400, ("x" * 300,))],
)
def test_concepts_are_separated_by_commas(text: str, concepts: tuple[str, ...]) -> None:
    assert concepts_of(text) == concepts


def test_concepts_are_bounded() -> None:
    assert len(concepts_of(",".join(map(str, range(1000))))) == 20


@given(st.sampled_from(sorted(SLIDERS)), st.text(max_size=8) | st.floats().map(str) | st.just(ALL))
def test_any_text_is_a_position_of_a_slider(name: str, text: str) -> None:
    assert nearest(SLIDERS[name], text) in SLIDERS[name].options


@pytest.mark.parametrize("name", sorted(SLIDERS))
def test_every_position_has_an_address_and_the_default_is_one(name: str) -> None:
    slider = SLIDERS[name]
    assert slider.default in slider.options and list(slider.options) == sorted(slider.options)
    for option in slider.options:
        assert nearest(slider, ALL if math.isinf(option) else f"{option:g}") == option


def test_suggestions_are_plain_words_of_labels() -> None:
    labels = ["ice bear, polar bear", "a" * 50, "**bold**", "ice bear", "[x](y)", "Grévy's zebra", ""]
    assert suggested(labels) == ["ice bear", "Grévy's zebra"]
    assert factor_text(-50.0) == "× −50" and factor_text(0.5) == "× 0.5"
