"""Sentences on one unit: they name the score, its chance level, how selective it is and where it is active."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("streamlit")

from results.app.units import facts

UNIT = {
    "alive": True,
    "ms_score": 0.8,
    "ms_score_token_null": 0.5,
    "ms_score_null": 0.4,
    "prefix_share": 0.0,
    "top_position": None,
}
WHERE = "where the unit is strongest, its images are"
THAN = "alike to the layer than random images at"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"MS 0.80, chance 0.50: {WHERE} more {THAN} patches."),
        ({"ms_score": 0.52}, f"MS 0.52, chance 0.50: {WHERE} slightly more {THAN} patches."),
        ({"ms_score": 0.4}, f"MS 0.40, chance 0.50: {WHERE} no more {THAN} patches."),
        # As printed, so that equal numbers are not told apart.
        ({"ms_score": 0.502}, f"MS 0.50, chance 0.50: {WHERE} no more {THAN} patches."),
        ({"ms_score_token_null": math.nan}, f"MS 0.80, chance 0.40: {WHERE} more {THAN} patches."),
        (
            {"ms_score_token_null": None, "ms_score_null": None},
            "MS 0.80. No chance level is stored, so the score has no scale.",
        ),
        ({"ms_score": math.nan}, "Its MS score is undefined or was not measured."),
        ({"prefix_share": 0.9}, f"MS 0.80, chance 0.50: {WHERE} more {THAN} CLS or register tokens."),
        ({"alive": False}, "Dead unit: it is active on no evaluation image, so it has no score and no images."),
    ],
)
def test_the_score_is_beside_its_chance_level(changes: dict[str, float | None], sentence: str) -> None:
    assert facts.score_sentence(UNIT | changes) == sentence


@pytest.mark.parametrize(
    ("classes", "chance", "sentence"),
    [
        (
            ["cat", "dog", "dog"],
            0.4,
            "2 of the 3 strongest are dog (67 %); the commonest class of random images has 40 %.",
        ),
        (
            ["cat", "dog", "", ""],
            0.4,
            "1 of the 4 strongest are cat (25 %): no more than the commonest class of random images has (40 %).",
        ),
        # Of equally common classes, that of the strongest image.
        (["dog", "cat", "cat", "dog"], None, "2 of the 4 strongest are dog (50 %), as are 25 % of all images."),
        (["cat"], math.nan, "1 of the 1 strongest are cat (100 %), as are 75 % of all images."),
        (["bird"], None, "1 of the 1 strongest are bird (100 %), as are 0 % of all images."),
    ],
)
def test_the_commonest_class_is_beside_that_of_random_images(
    classes: list[str], chance: float | None, sentence: str
) -> None:
    assert facts.class_finding(classes, {"cat": 3, "dog": 1}, chance) == sentence


def test_a_unit_is_at_cls_if_most_of_its_maxima_are() -> None:
    assert facts.is_prefix_unit({"prefix_share": 0.51, "top_position": None})
    assert not facts.is_prefix_unit({"prefix_share": 0.5, "top_position": None})
    # An older store has the positions only; registers are below CLS.
    assert facts.is_prefix_unit({"prefix_share": math.nan, "top_position": np.array([-1, -2, 5])})
    assert not facts.is_prefix_unit({"prefix_share": None, "top_position": np.array([-1, 4, 5])})
    assert not facts.is_prefix_unit({"prefix_share": None, "top_position": np.array([], int)})
    # The positions of a dead unit are no maxima.
    assert not facts.is_prefix_unit({"alive": False, "prefix_share": None, "top_position": np.array([-1])})


@pytest.mark.parametrize("maximum", [0.3, 1.0, 1.3, 2.0, 1000.0])
def test_the_edges_of_the_histogram_hold_the_maximum_in_the_last_bin(maximum: float) -> None:
    edges = facts.edges(5, maximum)
    assert len(edges) == 6 and edges == sorted(edges)
    assert edges[-2] < maximum <= edges[-1] * (1 + 1e-9)
    assert np.allclose(np.diff(np.log2(edges)), 0.5)


def test_selectivity_counts_the_images_near_the_maximum() -> None:
    # The maximum 1 is an edge: two half octaves below it is one half.
    finding = facts.peak_finding(np.array([2, 3, 40]), 1.0, 100)
    assert finding == "Above 50 % of its maximum on 5 of 100 images"
    for peaks, maximum in (([], 1.0), ([1], None), ([1], math.nan), ([1], 0.0), ([1], 1e-320), ([1], 1.7e308)):
        assert facts.peak_finding(np.array(peaks, int), maximum, 100) is None


@pytest.mark.parametrize("side", [1, 2, 3, 7, 16])
def test_the_place_is_the_ninth_with_the_most_activation_per_area(side: int) -> None:
    for row, rows in ((0, "top"), (side - 1, "bottom" if side > 1 else "top")):
        mean = np.zeros((side, side))
        mean[row, 0] = 5.0
        finding = facts.place_finding(mean)
        assert finding is not None
        if side > 1:
            assert finding.startswith(f"Most active at the {rows} left: ")
    assert facts.place_finding(np.zeros((side, side))) is None


def test_about_equal_ninths_of_a_row_or_column_are_named_together() -> None:
    top = np.zeros((6, 6))
    top[:2] = 1.0
    assert facts.place_finding(top) == "Most active at the top: up to 3.0 times the average"
    assert facts.place_finding(top.T) == "Most active at the left: up to 3.0 times the average"
    top[:2, 4:] = 3.0
    assert str(facts.place_finding(top)).startswith("Most active at the top right: ")
    ring = np.ones((6, 6))
    ring[2:4, 2:4] = 0.2
    ring[0, 0] = 2.0
    assert str(facts.place_finding(ring)).startswith("Most active at the border: ")


def test_an_even_map_is_called_even() -> None:
    assert facts.place_finding(np.ones((16, 16))) == "Active all over the image, and nowhere much more than elsewhere"


def test_the_mean_map_leaves_out_images_with_their_maximum_at_cls() -> None:
    maps = np.stack([np.full((2, 2), value, np.uint8) for value in (100, 200, 50)])
    mean = facts.mean_map(maps, [-1, 3, 2])
    assert mean is not None and mean.tolist() == [[125.0, 125.0], [125.0, 125.0]]
    assert facts.mean_map(maps, [-1, -1, -2]) is None
    assert facts.mean_map(maps[:0], []) is None
