"""Figure of the robustness: curves are those of the scores, and texts stay texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from figure_texts import drawn_boxes, outside, overlaps, svg_texts
from hostile_texts import hostile_texts
from robust_store import CONTROL, LEVELS, predictions, robust_scores, store_of

from results import ScoreRecord, Store, StoreError
from results.comparison.robustness import robustness as rows_of
from results.export import figure
from results.export.figures import page, robustness


def scores(accuracy: float, seed: int = 0) -> list[ScoreRecord]:
    return [
        score
        for metric in LEVELS
        for score in robust_scores(metric, predictions(metric, accuracy, seed), predictions(metric, 0.6, 1000))
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(
        tmp_path_factory.mktemp("robustness") / "s.duckdb",
        {
            "TopK SAE": ({}, scores(0.8)),
            "backbone": ({"method": "identity"}, scores(0.6, 9)),
            "random": (CONTROL, scores(0.7, 2)),
        },
    )


def test_curves_are_those_of_the_scores(store: Store) -> None:
    with page.style():
        drawn = robustness.draw(store, robustness.Options(), 100).figure
    panels = {axes.get_title(): axes for axes in drawn.axes if axes.get_title()}
    assert list(panels) == ["contrast", "pixelate", "wrong labels", "few images"]
    ticks = {title: [tick.get_text() for tick in axes.get_xticklabels()] for title, axes in panels.items()}
    assert ticks["contrast"] == ["0", "1", "5"] and ticks["few images"] == ["1", "5", "all"]
    assert ticks["wrong labels"] == ["0", "40", "80"]
    rows = {(row.label, row.metric): row for row in rows_of(store)}
    curve = rows["TopK SAE", "robust_labels"].curve
    lines = [line for line in panels["wrong labels"].lines if line.get_linewidth() == 0.8]
    heights = [np.asarray(line.get_ydata(), dtype=float) for line in lines]
    assert len(lines) == 2  # the backbone is the layer
    assert any(height == pytest.approx([100 * point["codes"] for point in curve]) for height in heights)
    (thick,) = [line for line in panels["wrong labels"].lines if line.get_linewidth() == 1.4]
    assert np.asarray(thick.get_ydata()) == pytest.approx([100 * point["layer"] for point in curve])
    whiskers = [
        line for line in panels["wrong labels"].lines if line.get_linewidth() == 0.6 and len(line.get_xdata()) == 2
    ]
    lengths = {round(float(np.ptp(np.asarray(line.get_ydata()))), 6) for line in whiskers}
    assert {round(2 * 196 * point["error"], 6) for point in curve} <= lengths
    of_few = rows["TopK SAE", "robust_few_shot"].curve
    lines = [line for line in panels["few images"].lines if line.get_linewidth() == 0.8]
    expected = [100 * of_few[index]["codes"] for index in (1, 2, 0)]
    assert any(np.asarray(line.get_ydata()) == pytest.approx(expected) for line in lines)
    assert {line.get_markerfacecolor() for line in lines} == {"#0072B2", "white"}


def test_nothing_overlaps_and_the_caption_says_what_is_drawn(store: Store) -> None:
    frame, boxes = drawn_boxes(robustness, store)
    assert len(boxes) > 20 and not outside(frame, boxes) and not list(overlaps(boxes))
    made = figure(store, "robustness", "svg")
    assert "vit at fc, photos." in made.caption and "n = 60" in made.caption
    assert {"the layer", "TopK SAE", "random"} <= set(svg_texts(made.content))
    assert "vit at fc" not in " ".join(svg_texts(figure(store, "robustness", "svg", caption=False).content))


def test_one_layer_must_be_left(tmp_path: Path) -> None:
    two = store_of(tmp_path / "s.duckdb", {"a": ({}, scores(0.8)), "b": ({"site": "other"}, scores(0.8))})
    with pytest.raises(StoreError, match="one layer and split of images, and 2 match"):
        figure(two, "robustness")
    splits = store_of(
        tmp_path / "splits.duckdb", {"a": ({}, scores(0.8)), "b": ({"evaluation_fingerprint": "other"}, scores(0.8))}
    )
    with pytest.raises(StoreError, match="one layer and split of images, and 2 match"):
        figure(splits, "robustness")
    assert figure(two, "robustness", site="other").caption.startswith("vit at other")
    with pytest.raises(StoreError, match="There is no robustness to draw"):
        figure(two, "robustness", suite="none")


@pytest.mark.parametrize("text", hostile_texts(12))
def test_texts_of_a_store_stay_texts(tmp_path: Path, text: str) -> None:
    metric = "robust_labels"
    made = robust_scores(metric, predictions(metric, 0.8, 0), predictions(metric, 0.6, 1))
    hostile = store_of(tmp_path / "s.duckdb", {"a": ({"label": text, "dataset": text, "backbone": text}, made)})
    frame, boxes = drawn_boxes(robustness, hostile)
    assert not outside(frame, boxes)
    assert figure(hostile, "robustness", "svg").content


@pytest.mark.parametrize("point", [{"share": "x"}, {"share": [1]}, {"codes": 1e300}, {"error": "x"}, {"corruption": 3}])
def test_damaged_points_are_left_out_or_drawn_without_an_error(tmp_path: Path, point: dict[str, object]) -> None:
    whole = {"share": 20, "codes": 0.5, "layer": 0.5, "error": 0.1}
    details = {"curve": [{**whole, "share": 0, "clean": True}, {**whole, **point}, {**whole, "share": 40}]}
    record = ScoreRecord(metric="robust_labels", value=0.5, n=9, details=details)
    damaged = store_of(tmp_path / "s.duckdb", {"a": ({}, [record])})
    assert figure(damaged, "robustness").content.startswith(b"\x89PNG")
