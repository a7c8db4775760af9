"""The app's figures from plain data: where names stand, what strangers' texts become, what is drawn."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from app_store import DROP, SCRIPT

from results.app.figures.curves import curve_figures
from results.app.figures.histogram import histogram_figure
from results.app.figures.spec import hover
from results.boards.scales import room
from results.pictures import labels
from results.pictures.labels import Named, Offset, label_offsets
from results.pictures.theme import BLUE, GREY, Mark, marks
from results.visible_text import one_line

HOSTILE = (DROP, SCRIPT, "datum.x", "view_12", "param_3", "a.b[0]", 'it\'s "quoted" \\', "line\nbreak \u2028", "title")
SQUARE = (0.0, 10.0)


def named(name: str, x: float, y: float, radius: float = 8.0, bar: float = 0.0) -> Named:
    return Named(name, x, y, radius, (x - bar, x + bar), (y, y))


def test_names_lie_neither_on_each_other_nor_on_marks_at_any_width() -> None:
    generator = np.random.default_rng(0)
    places = [(5.0, 5.0), (5.0, 5.0), (5.4, 5.1), *map(tuple, generator.uniform(0.5, 9.5, (6, 2)))]
    shown = [named(f"method {number}", *place) for number, place in enumerate(places)]
    chosen = label_offsets(shown, SQUARE, SQUARE)
    for width in (*labels.WIDE.widths_px, 800.0):
        centres = [(width * own.x / 10, labels.WIDE.height_px * own.y / 10) for own in shown]
        covered = [box_of(*own) for own in zip(shown, chosen, centres, strict=True)]
        for number, own in enumerate(covered):
            assert not any(overlap(own, other) for other in covered[:number])
            assert not any(overlap(own, (x - 8, y - 8, x + 8, y + 8)) for x, y in centres)
            assert own[0] >= 0 and own[1] >= 0 and own[2] <= width and own[3] <= labels.WIDE.height_px


def box_of(own: Named, offset: Offset, centre: tuple[float, float]) -> tuple[float, float, float, float]:
    width = labels.LETTER_PX * len(own.name)
    left = centre[0] + offset.dx - {"left": 0.0, "center": width / 2, "right": width}[offset.align]
    middle = centre[1] - offset.dy
    return left, middle - labels.LINE_PX / 2, left + width, middle + labels.LINE_PX / 2


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_names_without_neighbours_stand_above_to_the_right_and_keep_off_the_edge() -> None:
    assert label_offsets([], (0.0, 1.0), (0.0, 1.0)) == []
    for x_range in (SQUARE, (5.0, 5.0)):
        (alone,) = label_offsets([named("a", 5.0, 5.0)], x_range, SQUARE)
        assert alone.align == "left" and alone.dx > 0 and alone.dy < 0
    (at_the_edge,) = label_offsets([named("a long name", 10.0, 5.0)], SQUARE, SQUARE)
    assert at_the_edge.align == "right"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_tooltip_takes_no_text_for_an_expression(text: str) -> None:
    heading, line = (entry.to_dict() for entry in hover("name", {text: "says"}))
    assert (heading["field"], heading["title"], line["field"]) == ("name", "title", "says")
    # Vega-Lite puts a title between quotation marks after this replacement.
    key = json.loads('"' + line["title"].replace('"', '\\"') + '"')
    assert key == one_line(text) + ":"


def test_a_range_has_room_and_needs_no_spread() -> None:
    assert room([0.0, 10.0], 0.1) == (-1.0, 11.0)
    assert room([float("nan"), 2.0, float("inf")]) == pytest.approx([1.9, 2.1])
    assert room([0.0]) == (-1.0, 1.0)
    assert room([])[0] < room([])[1]


def test_every_mark_is_one_that_vega_draws() -> None:
    built_in = {"circle", "square", "cross", "diamond", *(f"triangle-{way}" for way in ("up", "down", "left", "right"))}
    every = marks(["elude", "identity", "archetypal_sae", "matching_pursuit_sae", *(f"mine {i}" for i in range(28))])
    for mark in every.values():
        assert mark.symbol in built_in or (mark.symbol.startswith("M") and mark.symbol.endswith("Z"))
    # Two methods never share both a colour and a shape.
    assert len(set(every.values())) == len(every)


def test_a_histogram_is_in_shares_and_holds_each_bin_to_its_right_edge() -> None:
    counts = {"a": [0.0, 1.0, 3.0, 0.0], "view_1": [0.0, 2.0, 0.0, 0.0]}
    styles = {"a": Mark(BLUE, "circle"), "view_1": Mark(GREY, "x")}
    figure = histogram_figure(counts, styles, title="score", n_pooled={"a": 3})
    steps = pd.DataFrame(figure["datasets"]["steps"])
    first = steps[steps["name"] == "a (4 units of 3 seeds together)"]
    assert first["x"].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0] and first["y"].tolist() == [0.0, 25.0, 75.0, 0.0, 0.0]
    assert set(steps["name"]) == {"a (4 units of 3 seeds together)", "view_1 (2 units)"}
    assert figure["datasets"]["filled"] == first.to_dict("records")
    bins = figure["datasets"]["bins"]
    assert bins[1]["share_0"] == "25.0 % of the units" and bins[1]["share_1"] == "100.0 % of the units"
    require_valid(figure)
    empty = histogram_figure({"a": [0.0, 0.0]}, styles, title="score", n_pooled={})
    assert [row["y"] for row in empty["datasets"]["steps"]] == [0.0, 0.0, 0.0]


def test_curves_are_one_figure_a_series_and_a_cell_keeps_its_colour() -> None:
    frame = pd.DataFrame(
        {
            "cell_id": ["one", "one", "two", "two", "two"],
            "series": ["loss", "loss", "loss", "loss", "l0"],
            "step": [0, 1, 0, 1, 0],
            "value": [1.0, 0.5, float("nan"), 0.7, 3.0],
        }
    )
    figures = curve_figures(frame, {"one": "token seed 1", "two": DROP})
    assert list(figures) == ["loss", "l0"]
    require_valid(figures["loss"])
    assert [row["value"] for row in figures["loss"]["datasets"]["values"]] == [1.0, 0.5, 0.7]
    assert figures["l0"]["datasets"]["values"][0]["name"] == DROP
    scales = [figure["layer"][0]["encoding"]["color"]["scale"] for figure in figures.values()]
    assert scales[0] == scales[1] and scales[0]["domain"] == ["token seed 1", DROP]


def require_valid(figure: dict[str, Any]) -> None:
    """The app does not check a figure against Vega-Lite's schema, since that takes longer than all else."""
    # The schema does not know the layout of legends, a setting of Vega.
    alt.Chart.from_dict(figure | {"config": {}}, validate=True)
