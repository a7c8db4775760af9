"""The front of the app: its axes, its figure, and the published marks in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("streamlit")

from app_pages import box, opened, require_sound, show, store_in, texts
from app_store import DROP, SCRIPT

from results import CellRecord, ScoreRecord, Store, open_store
from results.app.figures.front import CELL, CLICKED, front_figure, marker_size
from results.app.standings import points
from results.boards.trials import WARNING
from results.comparison.leaderboard import leaderboard
from results.comparison.row_errors import RowErrors
from results.published.points import published_points

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def test_the_front_shows_shares_and_what_is_missing(here: Store) -> None:
    test = opened("front", x="accuracy")
    frame = test.dataframe[0].value.set_index("method")
    assert frame.loc["TopK SAE", "on the front"] == "yes" and frame.loc[DROP, "on the front"] == "no"
    # A control is neither on the front nor off it.
    assert frame.loc["backbone only", "on the front"] == "not compared"
    assert frame.loc["TopK SAE", "front share"] > 90
    assert frame.loc[DROP, "front share"] < 5
    assert "all its cells failed" in texts(test)


def test_other_axes_and_a_metric_without_a_direction(here: Store) -> None:
    test = opened("front")
    box(test, "Horizontal axis").set_value("latency_ms").run()
    require_sound(test)
    assert "latency (ms)" in test.dataframe[0].value.columns
    box(test, "Horizontal axis").set_value("expansion_factor").run()
    require_sound(test)
    assert "There is no front" in texts(test)


def test_published_figures_are_off_until_they_are_asked_for(here: Store) -> None:
    test = opened("front")
    assert "were not measured here" not in texts(test)
    before = test.dataframe[0].value
    test.toggle[0].set_value(True).run()
    require_sound(test)
    assert "were not measured here" in texts(test)
    # They are in the figure alone: no row, no share and no line comes from them.
    assert test.dataframe[0].value.equals(before)


def test_published_marks_are_hollow_and_take_no_part_in_the_line(here: Store) -> None:
    board = next(board for board in leaderboard(here) if board.backbone == "vit")
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("accuracy", "ms_score"))
    measured_points = points(board.rows, x, y, RowErrors(here, board))
    published = [point for point in published_points() if point.setting.startswith("AugReg")]
    alone, both = front_figure(measured_points, x, y), front_figure(measured_points, x, y, published)
    for figure in (alone, both):
        alt.Chart.from_dict(figure | {"config": {}}, validate=True)
    assert alone["datasets"]["line"] == both["datasets"]["line"] and "published" not in alone["datasets"]
    measured, printed = both["datasets"]["measured"], both["datasets"]["published"]
    means = ("cell", "name", "x", "x_low", "x_high", "y", "y_low", "y_high")
    assert [[row[key] for key in means] for row in measured] == [
        [row[key] for key in means] for row in alone["datasets"]["measured"]
    ]
    assert len(printed) == len(published) == 10
    # A published mark opens nothing, and is filled with nothing.
    assert not any(CELL in row for row in printed) and all(CELL in row for row in measured)
    filling = {own["data"]["name"]: own["mark"]["fillOpacity"] for own in marks_of(both)}
    assert filling == {"measured": 0, "published": 0}
    assert {row["fill_opacity"] for row in measured} == {1.0} and not any("fill_opacity" in row for row in printed)
    assert [row["kind"] for row in both["datasets"]["kinds"]] == [
        "measured here",
        "published, not measured here (italic)",
    ]
    assert marks_of(both)[0]["encoding"]["x"]["title"] == "accuracy (%), higher is better ↑"
    line = alone["datasets"]["line"]
    assert [row["x"] for row in line] == sorted(row["x"] for row in line)
    assert [row["y"] for row in line] == sorted((row["y"] for row in line), reverse=True)


def marks_of(figure: dict[str, Any]) -> list[dict[str, Any]]:
    return [own for own in figure["layer"] if own["mark"]["type"] == "point" and own["data"]["name"] != "kinds"]


def test_the_axes_hold_every_interval_and_equal_marks_have_some_room(here: Store) -> None:
    board = next(board for board in leaderboard(here) if board.backbone == "vit")
    by_metric = {column.metric: column for column in board.columns}
    errors = RowErrors(here, board)
    for x, y in (("accuracy", "ms_score"), ("latency_ms", "r2"), ("expansion_factor", "expansion_factor")):
        figure = front_figure(points(board.rows, by_metric[x], by_metric[y], errors), by_metric[x], by_metric[y])
        for channel in "xy":
            low, high = marks_of(figure)[0]["encoding"][channel]["scale"]["domain"]
            for row in figure["datasets"]["measured"]:
                assert low < row[f"{channel}_low"] <= row[channel] <= row[f"{channel}_high"] < high
    row = next(row for row in board.rows if row.label == "ELUDe")
    alone = points([row], by_metric["latency_ms"], by_metric["r2"], errors)
    assert (
        front_figure(alone, by_metric["latency_ms"], by_metric["r2"])["datasets"].keys().isdisjoint({"line", "kinds"})
    )


def test_a_mark_says_its_values_to_the_pointer_and_to_screen_readers(here: Store) -> None:
    test = opened("front", x="accuracy")
    proto = test.get("vega_lite_chart")[0].proto
    assert proto.alt.startswith("Scatter plot of MS score (%), higher is better ↑ against accuracy (%)")
    assert "On the front: ELUDe, TopK SAE" in proto.alt or "On the front: TopK SAE, ELUDe" in proto.alt
    assert list(proto.selection_mode) == [CLICKED]
    rows = next(frame(own.data.data) for own in proto.datasets if own.name == "measured").set_index("name")
    assert rows.loc["ELUDe", CELL].startswith("elude-")
    said = rows.loc["ELUDe", "text"]
    assert said.startswith("ELUDe: MS score 60.50 [") and ", accuracy 80.00 [" in said and "on the front in" in said
    assert rows.loc["ELUDe", "factor_text"] == "2.00"
    assert rows.loc["TopK SAE", "outline_px"] > rows.loc[DROP, "outline_px"]


def frame(data: bytes) -> pd.DataFrame:
    return pa.ipc.open_stream(data).read_pandas()


def test_an_interval_of_a_share_ends_at_100_percent(here: Store) -> None:
    board = next(board for board in leaderboard(here) if board.backbone == "vit")
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("r2", "ms_score"))
    point_of = {point.row.label: point for point in points(board.rows, x, y, RowErrors(here, board))}
    mean, low, high = point_of["ELUDe"].x
    assert (mean, high) == (100.0, 100.0) and low < 99
    mean, low, high = point_of["TopK SAE"].x
    assert mean == pytest.approx(90.0) and 100 > high > mean > low


def test_a_mark_grows_with_the_expansion_factor() -> None:
    sizes = [marker_size(factor) for factor in (None, 1.0, 2.0, 8.0, 1e9)]
    assert sizes == sorted(sizes) and sizes[0] == sizes[1] and sizes[-1] == 40


def test_a_choice_is_in_the_address_and_an_address_is_a_choice(here: Store) -> None:
    test = opened("front")
    # The second choice counts as the first does, although the address holds the first.
    for metric in ("latency_ms", "r2", "latency_ms"):
        box(test, "Horizontal axis").set_value(metric).run()
        assert box(test, "Horizontal axis").value == metric
        assert test.query_params["x"] == metric or test.query_params["x"] == [metric]
    # A link to other axes on the same page, and what it does not name stays.
    test.query_params["x"] = "expansion_factor"
    test.run()
    assert (box(test, "Horizontal axis").value, box(test, "Vertical axis").value) == ("expansion_factor", "ms_score")
    # What nobody knows is the default, and no error.
    test.query_params["x"] = SCRIPT
    test.run()
    require_sound(test)
    assert box(test, "Horizontal axis").value == "r2"
    # Another page keeps the board, and the method page says that it does not know a cell.
    box(test, "Backbone").set_value("z_cnn").run()
    require_sound(test)
    test.switch_page("screens/leaderboard.py").run()
    assert box(test, "Backbone").value == "z_cnn"
    assert "does not have" in texts(opened("method", cell="nobody"))


@pytest.mark.parametrize(("suite", "is_trial"), [("table2-tiny", True), ("demo", False)])
@pytest.mark.parametrize("page", ["front", "leaderboard", "method", "units"])
def test_figures_of_a_trial_are_marked_on_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, suite: str, is_trial: bool
) -> None:
    store = open_store(tmp_path / "results.duckdb", read_only=False)
    for method in ("elude", "topk_sae"):
        scores = [ScoreRecord(metric=name, value=0.5, unit="fraction") for name in ("ms_score", "r2")]
        cell = CellRecord(cell_id=method, status="finished", suite=suite, backbone="b", site="s", method=method)
        store.record(cell, scores)
    show(store, monkeypatch)
    assert (WARNING in [str(own.value) for own in opened(page).warning]) == is_trial
