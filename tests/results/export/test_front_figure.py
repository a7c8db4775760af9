"""Figure of the front: rows, marks and names are those of the board, and nothing overlaps."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path
from typing import Any

import flagged_store
import numpy as np
import pytest
from figure_texts import drawn_boxes, outside, overlaps, svg_texts
from flagged_board import Cells, fraction
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from results import ScoreRecord, Store, StoreError, open_store
from results.boards.scales import mark_sizes
from results.comparison.leaderboard import leaderboard
from results.export import figure
from results.export.figures import front, page
from results.export.figures.symbols import marker
from results.export.front_points import axes_of, front_points
from results.pictures import theme
from results.pictures.theme import GREY, VERMILION


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return flagged_store.make_store(tmp_path_factory.mktemp("flagged") / "s.duckdb")


def store_of(path: Path, cells: Cells) -> Store:
    flagged_store.write(open_store(path, read_only=False), cells)
    return open_store(path)


def axes_of_figure(store: Store, **options: Any) -> Any:
    with page.style():
        return front.draw(store, front.Options(**options), 100).figure.axes[0]


def marks(axes: Any) -> dict[tuple[float, float], Line2D]:
    """Place of each mark -> the mark."""
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    return {(float(line.get_xdata()[0]), float(line.get_ydata()[0])): line for line in lines}


def test_marks_are_the_points_of_the_html_page_and_hollow_ones_are_no_candidates(store: Store) -> None:
    (board,) = leaderboard(store)
    across, up, _ = axes_of(board)
    assert across is not None and up is not None
    points = {(point.x, point.y): point for point in front_points(board, across, up) if point.row.group != "control"}
    drawn = marks(axes_of_figure(store))
    assert drawn.keys() == points.keys() and len(points) == 8
    for position, mark in drawn.items():
        row = points[position].row
        is_hollow = row.label not in ("good", "exact", "fair", "third")
        assert (mark.get_markerfacecolor() == "white") == is_hollow
        assert to_hex(mark.get_markeredgecolor()) == (
            GREY if is_hollow else page.INK if points[position].front else "#ffffff"
        )
    assert [point.row.label for point in points.values() if point.front] == ["good", "exact"]


def test_whiskers_are_the_intervals_and_a_row_with_one_seed_has_none(store: Store) -> None:
    (board,) = leaderboard(store)
    across, up, _ = axes_of(board)
    assert across is not None and up is not None
    axes = axes_of_figure(store)
    spans = {
        (tuple(np.ravel(line.get_xdata()).tolist()), tuple(np.ravel(line.get_ydata()).tolist())) for line in axes.lines
    }
    for point in front_points(board, across, up):
        if point.row.group == "control":
            continue
        assert (point.x_error, (point.y, point.y)) in spans and ((point.x, point.x), point.y_error) in spans
        if point.row.label == "single":
            assert point.x_error == (point.x, point.x) and point.y_error == (point.y, point.y)


def test_the_front_is_a_staircase_between_unflagged_rows(store: Store) -> None:
    axes = axes_of_figure(store)
    (stairs,) = [line for line in axes.lines if line.get_drawstyle() != "default"]
    assert stairs.get_drawstyle() == "steps-pre"
    ends = sorted(marks(axes))
    assert set(zip(map(float, stairs.get_xdata()), map(float, stairs.get_ydata()), strict=True)) <= set(ends)
    # Of a cost, less is better, and the staircase turns on the other side.
    costs = Cells()
    for label, ms, seconds in (("slow", 0.6, 9.0), ("fast", 0.5, 2.0)):
        extra = [ScoreRecord(metric="fit_seconds", value=seconds, unit="s", direction="lower")]
        costs.record(label, [ms, ms + 0.01, ms - 0.01], extra=extra)
    other = axes_of_figure(store_of(store.path.with_name("costs.duckdb"), costs), x="fit_seconds")
    (stairs,) = [line for line in other.lines if line.get_drawstyle() != "default"]
    assert stairs.get_drawstyle() == "steps-post" and "← better" in other.get_xlabel()


def test_controls_are_dotted_lines_at_their_value_with_names(store: Store) -> None:
    axes = axes_of_figure(store)
    levels = sorted(float(line.get_ydata()[0]) for line in axes.lines if list(np.ravel(line.get_xdata())) == [0, 1])
    (board,) = leaderboard(store)
    (column,) = board.columns_called(["ms_score"])
    controls = [row for row in board.rows if row.group == "control" and column.key in row.metrics]
    assert levels == sorted(column.display_value(row.metrics[column.key].mean) for row in controls)
    names = [text.get_text() for text in axes.texts]
    assert {row.title for row in controls} <= set(names)


def test_names_have_the_flags_and_those_on_the_front_are_bold(store: Store) -> None:
    texts = {text.get_text(): text for text in axes_of_figure(store).texts}
    assert {"copies [collapsed]", "broken net [below floor]", "guesses [at chance]", "single [one seed]"} <= set(texts)
    assert {name for name, text in texts.items() if text.get_fontweight() == "bold"} == {"good", "exact"}


@pytest.mark.parametrize("seed", range(4))
def test_names_do_not_overlap_and_every_row_is_named(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    cells = Cells()
    for number in range(6 + 7 * seed):
        ms = draw.uniform(0.4, 0.8)
        # Letters of different widths: a name is placed by its own width, not by its number of letters.
        label = f"{draw.choice(['', 'WWWMMM ', 'MWMWMWMWMWMWMW ', 'ill ill ill '])}method {number}"
        cells.record(label, [ms, ms + 0.01, ms - 0.02], r2=draw.uniform(0.5, 1.0), factor=draw.choice([1, 4, 8]))
    for number in range(3):
        cells.record(f"control {number}", [0.4 + number / 50] * 3, claims={"family": "control"})
    store = store_of(tmp_path / "s.duckdb", cells)
    frame, boxes = drawn_boxes(front, store)
    assert not list(overlaps(boxes)) and not outside(frame, boxes)
    (board,) = leaderboard(store)
    drawn = figure(store, "front", "svg")
    texts = svg_texts(drawn.content)
    for row in board.rows:
        name = row.title_with_flags
        assert name in texts or name in drawn.caption, "a name without room is in the caption"
    assert sum(name in texts for name in (row.title_with_flags for row in board.rows)) >= 0.8 * len(board.rows)


def test_a_flagged_row_far_away_stands_at_the_edge_and_is_named_in_the_caption(tmp_path: Path) -> None:
    cells = Cells()
    for label, ms, r2 in (("a", 0.6, 0.7), ("b", 0.5, 0.9)):
        cells.record(label, [ms, ms + 0.01, ms - 0.01], r2=r2)
    cells.record("far", [0.55, 0.56, 0.54], r2=-20.0, overlap=0.99)
    store = store_of(tmp_path / "s.duckdb", cells)
    axes = axes_of_figure(store)
    low, high = axes.get_xlim()
    assert 0 < low < 70 and 90 < high < 130
    far = min(marks(axes))
    assert low < far[0] < low + 0.05 * (high - low) and far[1] == 55.0
    caption = figure(store, "front").caption
    assert "At the edge, with places outside of the plot: far [collapsed] (R2 (%) −2000, MS score (%) 55)." in caption
    # A candidate is never outside.
    cells.record("far", [0.55, 0.56, 0.54], r2=-20.0, overlap=0.4)
    unflagged = store_of(tmp_path / "other.duckdb", cells)
    assert axes_of_figure(unflagged).get_xlim()[0] < -2000 and "At the edge" not in figure(unflagged, "front").caption


def test_one_row_and_undefined_scores_are_drawn(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("alone", [0.5, 0.5, 0.5], error=None)
    cells.record("undefined", [float("nan")] * 3)
    store = store_of(tmp_path / "s.duckdb", cells)
    assert list(marks(axes_of_figure(store))) == [(70.0, 50.0)]
    drawn = figure(store, "front", "svg")
    assert "alone" in svg_texts(drawn.content) and "undefined" not in svg_texts(drawn.content)
    assert "Bold names: on the Pareto front." in drawn.caption and "grows with" not in drawn.caption


def test_areas_of_marks_grow_with_the_expansion_factor(tmp_path: Path) -> None:
    cells = Cells()
    for label, factor, ms in (("small", 1.0, 0.5), ("large", 8.0, 0.6), ("other", 2.0, 0.7)):
        cells.record(label, [ms, ms + 0.01, ms - 0.01], factor=factor, r2=0.7 + ms / 10)
    store = store_of(tmp_path / "s.duckdb", cells)
    (board,) = leaderboard(store)
    sizes = mark_sizes(next(iter(board.columns_called(["expansion_factor"]))), [1.0, 8.0, 2.0])
    by_level = {round(y): mark.get_markersize() for (_, y), mark in marks(axes_of_figure(store)).items()}
    for level, factor in ((50, 1.0), (60, 8.0), (70, 2.0)):
        assert by_level[level] / by_level[50] == pytest.approx(sizes.diameter(factor) / sizes.diameter(1.0))
    assert "The area of a mark grows with its expansion, from 1 to 8." in figure(store, "front").caption


def test_the_axes_are_those_that_were_asked_for(store: Store) -> None:
    axes = axes_of_figure(store, x="accuracy", y="unit_overlap")
    assert axes.get_xlabel().startswith("accuracy (%)") and axes.get_xlabel().endswith("→ better")
    assert axes.get_ylabel().startswith("unit overlap (%)") and axes.get_ylabel().endswith("↓ better")
    no_front = figure(store, "front", x="expansion_factor", y="ms_score").caption
    assert "No front: one of the metrics has no better direction." in no_front


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"x": "nothing"}, "No board here has the metric 'nothing'"),
        ({"backbone": "other"}, "There is no board to draw: no finished cell matches."),
        ({"y": "only_one"}, "no row of vit at fc has both"),
    ],
)
def test_a_board_without_a_front_is_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.6])
    cells.record("b", [0.5, 0.6], r2=None, extra=[fraction("only_one", 0.5)])
    with pytest.raises(StoreError, match=re.escape(sentence)):
        figure(store_of(tmp_path / "s.duckdb", cells), "front", **options)


def test_of_several_boards_one_must_be_chosen(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.6])
    for cell_id, cell in list(cells.cells.items()):
        for site in ("conv", "bare"):
            cells.cells[cell_id + site] = dataclasses.replace(cell, cell_id=cell_id + site, site=site)
            cells.scores[cell_id + site] = cells.scores[cell_id] if site == "conv" else []
    store = store_of(tmp_path / "s.duckdb", cells)
    # The layer without scores has no front, so it is no choice.
    with pytest.raises(StoreError, match=r"2 match \(vit at conv, vit at fc\): choose one by backbone, site or suite"):
        figure(store, "front")
    assert figure(store, "front", site="conv").caption.startswith("vit at conv on photos.")


def test_a_smoke_test_is_marked(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("a", [0.5, 0.6])
    cells.cells = {name: dataclasses.replace(cell, suite="demo-tiny") for name, cell in cells.cells.items()}
    caption = figure(store_of(tmp_path / "s.duckdb", cells), "front").caption
    assert caption.startswith("vit at fc on photos (scale tiny: figures are meaningless).")


def test_every_symbol_of_the_theme_is_a_marker_with_the_y_axis_upwards() -> None:
    for symbol in {symbol for _, symbol in theme._MARKS.values()} | set(theme._OTHER_SYMBOLS) - {"circle"}:
        shape = marker(symbol)
        if symbol != "circle":
            assert len(shape.vertices) >= 4 and np.abs(shape.vertices).max() <= 1.2  # type: ignore[union-attr]
    assert marker("circle") == "o"
    up = marker("triangle-up").vertices  # type: ignore[union-attr]
    assert up[up[:, 1].argmax()].tolist() == [0.0, 1.0]
    assert theme.marks(["elude"])["elude"].colour == VERMILION
