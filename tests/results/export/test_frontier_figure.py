"""Figure of the frontiers: marks, lines and areas are those of `harness frontier`, and texts stay texts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from figure_texts import drawn_boxes, outside, overlaps, svg_texts
from hostile_texts import hostile_texts

from results import CellRecord, ScoreRecord, Store, StoreError, open_store
from results.export import figure
from results.export.figures import frontier, page


def store_of(path: Path, values: Mapping[str, Mapping[float, float]], backbone: str = "vit") -> Store:
    """Methods with an R2 for each L0, in two seeds."""
    store = open_store(path, read_only=False)
    for label, of_label in values.items():
        for l0, r2 in of_label.items():
            for seed in (1, 2):
                record = CellRecord(
                    cell_id=f"{backbone}-{label}-{l0}-{seed}",
                    status="finished",
                    backbone=backbone,
                    backbone_title=backbone,
                    site="fc",
                    method=f"{label}_sae",
                    label=label,
                    config={"k": l0},
                    token_seed=seed,
                    claims={"family": "control" if label == "random" else "sae"},
                )
                scores = [
                    ScoreRecord(metric="r2", value=r2 + 0.01 * seed, unit="fraction"),
                    ScoreRecord(metric="l0", value=l0, direction="none"),
                ]
                store.record(record, scores)
    return open_store(path)


VALUES = {"a": {1.0: 0.2, 10.0: 0.5, 100.0: 0.8}, "b": {1.0: 0.3, 10.0: 0.1, 50.0: 0.9}, "random": {5.0: 0.1}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("frontier") / "s.duckdb", VALUES)


def test_marks_are_settings_and_lines_are_envelopes(store: Store) -> None:
    with page.style():
        axes = frontier.draw(store, frontier.Options(), 100).figure.axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    points = {
        (float(x), round(float(y), 6))
        for line in marks
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    assert points == {(l0, round(100 * r2 + 1.5, 6)) for values in VALUES.values() for l0, r2 in values.items()}
    lines = [
        np.column_stack([line.get_xdata(), line.get_ydata()]) for line in axes.lines if line.get_linewidth() == 1.2
    ]
    assert sorted(len(line) for line in lines if len(line) > 1) == [2, 3]
    (of_b,) = [line for line in lines if len(line) == 2]
    assert of_b == pytest.approx(np.array([[1.0, 31.5], [50.0, 91.5]]))
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    assert [float(line.get_xdata()[0]) for line in hollow] == [5.0]
    assert axes.get_xscale() == "log"


def test_names_have_areas_and_nothing_overlaps(store: Store) -> None:
    texts = svg_texts(figure(store, "frontier", "svg").content)
    joined = " ".join(texts)
    assert "b: area 61.50" in joined and "random: one setting is no curve" in joined
    assert "from 1 to 50 (dotted; the range that all methods with a curve share)" in " ".join(joined.split())
    frame, boxes = drawn_boxes(frontier, store)
    assert len(boxes) > 10 and not outside(frame, boxes) and not list(overlaps(boxes))
    given = figure(store, "frontier", "svg", limits=(1.0, 10.0)).caption
    assert "from 1 to 10 (dotted; as given)" in given and "Hollow: controls." in given


def test_one_board_must_be_left(tmp_path: Path) -> None:
    store_of(tmp_path / "s.duckdb", VALUES)
    store = store_of(tmp_path / "s.duckdb", VALUES, backbone="cnn")
    with pytest.raises(StoreError, match="A frontier is that of one board, and 2 match"):
        figure(store, "frontier")
    assert figure(store, "frontier", backbone="cnn").caption.startswith("cnn at fc")
    with pytest.raises(StoreError, match="There is no frontier to draw"):
        figure(open_store(tmp_path / "e.duckdb", read_only=False), "frontier")


def test_many_methods_with_odd_names_and_values(tmp_path: Path) -> None:
    names = [name for name in hostile_texts(30) if name.strip()]
    values = {name: {float(n + 1): 0.1, 1e5: 0.2, 1e-300: -1e90} for n, name in enumerate(names)}
    drawn = figure(store_of(tmp_path / "s.duckdb", values), "frontier", "svg")
    assert ET.fromstring(drawn.content).tag.endswith("svg") and b"<script" not in drawn.content
    assert "Without a name: " in drawn.caption
