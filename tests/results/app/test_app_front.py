"""The front of the app: its axes, its figure, and the published marks in it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("streamlit")

from app_pages import box, opened, require_sound, show, store_in, texts
from app_store import DROP, SCRIPT

from results import CellRecord, ScoreRecord, Store, open_store
from results.app.figures.front import CELL, CLICKED, Look, front_figure
from results.app.figures.front_scales import short_interval
from results.app.standings import points
from results.app.titles import plain
from results.boards.scales import axis_range, mark_sizes, short_number
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


def table(test: Any) -> pd.DataFrame:
    """The values behind the chart: the table below it, not that of the method in focus."""
    return test.get("table")[-1].value.set_index("method")


def test_the_front_shows_shares_and_what_is_missing(here: Store) -> None:
    test = opened("front", x="accuracy")
    frame = table(test)
    # A control is neither on the front nor off it.
    assert frame.loc["backbone only", "on the front"] == "control"
    (word, share), (other_word, other_share) = (
        frame.loc[title, "on the front"].removesuffix(" %").split(", ") for title in ("TopK SAE", plain(DROP))
    )
    assert (word, other_word) == ("yes", "no") and float(share) > 90 and float(other_share) < 5
    assert "all its cells failed" in texts(test)


def test_the_title_says_what_is_compared(here: Store) -> None:
    test = opened("front")
    assert test.title[0].value == plain("A ViT · blocks.9.mlp.fc2")
    written = texts(test)
    assert plain("4 methods and 1 control · 20 evaluation images of folder:pictures · 2 token seeds") in written


def test_other_axes_and_a_metric_without_a_direction(here: Store) -> None:
    test = opened("front")
    box(test, "Horizontal axis").set_value("latency_ms").run()
    require_sound(test)
    assert plain("latency (ms) [range over seeds]") in table(test).columns
    box(test, "Horizontal axis").set_value("expansion_factor").run()
    require_sound(test)
    assert "There is no front" in texts(test)


def test_published_figures_of_another_backbone_are_off_until_they_are_asked_for(here: Store) -> None:
    test = opened("front")
    assert "not measured here" not in texts(test)
    before = table(test)
    toggle(test, "Published figures").set_value(True).run()
    require_sound(test)
    assert "not measured here" in texts(test)
    # They are in the figure alone: no row, no share and no line comes from them.
    assert table(test).equals(before)


def toggle(test: Any, label: str) -> Any:
    return next(element for element in test.toggle if element.label == label)


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
    assert all(row["fill_opacity"] >= 0.2 for row in measured) and not any("fill_opacity" in row for row in printed)
    assert [row["kind"] for row in both["datasets"]["kinds"]] == [
        "measured here",
        "published (italic)",
    ]
    assert marks_of(both)[0]["encoding"]["x"]["title"] == "accuracy (%), higher is better →"
    line = alone["datasets"]["line"]
    assert [row["x"] for row in line] == sorted(row["x"] for row in line)
    assert [row["y"] for row in line] == sorted((row["y"] for row in line), reverse=True)


def marks_of(figure: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        own
        for own in figure["layer"]
        if own["mark"]["type"] == "point" and own["data"]["name"] in ("measured", "published")
    ]


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
    assert rows.loc["ELUDe", "size_text"] == "2.000"
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


def test_the_mark_of_the_method_in_focus_has_a_ring_and_keeps_its_name(here: Store) -> None:
    board = next(board for board in leaderboard(here) if board.backbone == "vit")
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("accuracy", "ms_score"))
    measured = points(board.rows, x, y, RowErrors(here, board))
    for row in board.rows[:2]:
        figure = front_figure(measured, x, y, look=Look(focus=row))
        (ring,) = figure["datasets"]["focus"]
        assert (ring["name"], ring["label"], ring["weight"]) == (row.title, row.title, "bold")
        assert [entry["name"] for entry in figure["datasets"]["measured"] if entry["bar_opacity"] > 0.5] == [row.title]
    figure = front_figure(measured, x, y, look=Look(compared=board.rows[:2]))
    # The two methods of the headline are compared by eye, so their intervals are equally strong.
    strong = {entry["name"] for entry in figure["datasets"]["measured"] if entry["bar_opacity"] > 0.5}
    assert strong == {row.title for row in board.rows[:2]} and "focus" not in figure["datasets"]


def column(metric: str, unit: str) -> Any:
    return SimpleNamespace(key=metric, metric=metric, unit=unit, digits=2, panel=None)


def test_a_mark_grows_with_its_cost_and_a_small_ratio_looks_small() -> None:
    sizes = mark_sizes(column("expansion_factor", ""), [2.0, 8.0])
    diameters = [sizes.diameter(value) for value in (None, 1.0, 2.0, 8.0, 16.0, 1e9)]
    assert (
        diameters == sorted(diameters) and diameters[0] == diameters[1] == 10 and diameters[-2] == diameters[-1] == 26
    )
    assert [text for text, _ in sizes.legend] == ["2", "8"]
    near, far = (mark_sizes(column("fit_seconds", "s"), [1.0, high]) for high in (1.5, 1000.0))
    assert near.diameter(1.5) < 15 and far.diameter(1000.0) == 26 and far.title == "fit (s)"
    # Nothing to tell apart: no legend, and marks of a usual size.
    assert mark_sizes(None, [1.0, 2.0]) == mark_sizes(column("fit_seconds", "s"), [2.0, 2.0])
    assert mark_sizes(None, []).legend == () and mark_sizes(None, []).diameter(None) == 14


def test_an_axis_of_costs_that_differ_a_lot_is_logarithmic() -> None:
    span = axis_range(column("fit_seconds", "s"), [0.1, 100.0], 0.1)
    assert span.is_log and span.low < 0.1 and span.high > 100
    assert span.linear(span.between(0.5)) == pytest.approx((span.linear(span.low) + span.linear(span.high)) / 2)
    assert span.inside(-5.0) == span.low
    for metric, unit, ends in (
        ("fit_seconds", "s", [1.0, 5.0]),
        ("fit_seconds", "s", [0.0, 90.0]),
        ("r2", "fraction", [1.0, 90.0]),
    ):
        assert not axis_range(column(metric, unit), ends, 0.1).is_log


def test_numbers_have_three_significant_digits() -> None:
    spans = [
        (14.13, 12.0, 16.24),
        (99.9996, 99.99, 100.0),
        (5.1, 2.64, 7.02),
        (0.0, 0.0, 0.0),
        (1234.5, 1230.0, 1240.0),
    ]
    assert [short_interval(span) for span in spans] == [
        "14.1 [12.0, 16.2]",
        "100",
        "5.10 [2.64, 7.02]",
        "0",
        "1,234 [1,230, 1,240]",
    ]
    assert [short_number(value) for value in (8.0, 2.513, 0.0123, 123456.0, 0.0, 1e-9)] == [
        "8",
        "2.51",
        "0.0123",
        "123,000",
        "0",
        "1e-09",
    ]


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


def test_the_method_in_focus_stands_beside_the_plot_and_in_the_address(here: Store) -> None:
    test = opened("front")
    assert box(test, "Method in focus").value == "elude-123"
    numbers = test.get("table")[0].value
    assert numbers.iloc[0].tolist()[0] == "MS score" and "on the front" in numbers.iloc[:, 0].tolist()
    links = {link.proto.label for link in test.get("page_link")}
    assert {"Open", "Units"} <= links and any("Unit " in label for label in links)
    box(test, "Method in focus").set_value("topk_sae-123").run()
    require_sound(test)
    assert test.query_params["focus"] in ("topk_sae-123", ["topk_sae-123"])
    # A link to another seed's cell is one to the same method; a cell of no board is not an error.
    for cell, chosen in (("topk_sae-42", "topk_sae-123"), (SCRIPT, "elude-123"), ("identity-other", "elude-123")):
        test = opened("front", focus=cell)
        require_sound(test)
        assert box(test, "Method in focus").value == chosen
    next(button for button in test.button if "close" in str(button.proto.icon)).click().run()
    require_sound(test)
    assert not any(element.label == "Method in focus" for element in test.selectbox)
    assert test.get("vega_lite_chart")
    button(test, "Show the method panel").click().run()
    assert box(test, "Method in focus").value == "elude-123"


def button(test: Any, label: str) -> Any:
    return next(element for element in test.button if element.label == label)


def test_filters_leave_rows_out_and_are_in_the_address(here: Store) -> None:
    test = opened("front", factor=["1.0", "2.0"])
    require_sound(test)
    assert "The filters leave" in texts(test) and "TopK SAE" not in table(test).index
    assert "TopK SAE" in table(opened("front")).index


def test_all_layers_are_small_plots_on_equal_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "results.duckdb", read_only=False)
    for site, shift in (("layer.1", 0.0), ("layer.2", 0.1), ("layer.3", 0.2)):
        for number, method in enumerate(("elude", "topk_sae", "identity")):
            for seed in (1, 2):
                values = {"ms_score": 0.5 + shift + 0.02 * number + 0.001 * seed, "r2": 0.9 - 0.1 * number}
                if (site, method) == ("layer.3", "elude"):
                    values["ms_score"] = 0.9
                scores = [ScoreRecord(metric=name, value=value, unit="fraction") for name, value in values.items()]
                cell = f"{method}-{site}-{seed}"
                store.record(
                    CellRecord(
                        cell_id=cell,
                        status="finished",
                        backbone="b",
                        site=site,
                        method=method,
                        label=method,
                        token_seed=seed,
                    ),
                    scores,
                )
    show(store, monkeypatch)
    test = opened("front")
    require_sound(test)
    first, *small = (chart.proto for chart in test.get("vega_lite_chart"))
    assert len(small) == 3 and "All layers" in texts(test)
    scales = {json.dumps(mark_scale(proto)) for proto in small}
    assert len(scales) == 1 and mark_scale(first) != mark_scale(small[0])
    # The name of a layer leads to it, and the chosen one is not a link.
    links = [link.proto.label for link in test.get("page_link") if "layer" in link.proto.label]
    assert [plain(f"b · layer.{number}") for number in (2, 3)] == links
    assert all("On the front: " in proto.alt for proto in small)


def mark_scale(proto: Any) -> list[list[float]]:
    layers = json.loads(proto.spec)["layer"]
    mark = next(layer for layer in layers if layer["mark"]["type"] == "point" and layer["data"]["name"] == "measured")
    return [mark["encoding"][channel]["scale"]["domain"] for channel in "xy"]
