"""Flagged rows, controls and virtual rows on the pages of the app, and the rows that pages show first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("streamlit")

from app_pages import box, opened, require_sound, show, texts
from flagged_board import fraction
from flagged_store import make_store, record

from results import Store, open_store
from results.app.default_rows import rival_row
from results.app.figures.front import CELL, front_figure
from results.app.standings import points, ranks_of
from results.app.titles import plain, title_and_unit
from results.boards.board import Board
from results.boards.flags import FlagInputs, flags_of
from results.boards.lead_columns import heading
from results.comparison.headline import contrasted_rows, headline
from results.comparison.leaderboard import leaderboard
from results.comparison.row_errors import RowErrors
from results.pictures.theme import GREY
from results.store import judgments
from results.store.judgments import TournamentRecord

pytestmark = pytest.mark.run

FLAGGED = {"copies": "collapsed", "broken net": "below floor", "guesses": "at chance", "single": "one seed"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("flagged") / "results.duckdb")


@pytest.fixture(scope="module")
def board(store: Store) -> Board:
    (board,) = leaderboard(store)
    return board


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def test_only_methods_without_a_flag_are_on_the_front(store: Store, board: Board) -> None:
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("r2", "ms_score"))
    assert {row.title: row.flags[0].name for row in board.rows if row.group == "method" and row.flags} == FLAGGED
    by_title = {point.row.title: point for point in points(board.rows, x, y, RowErrors(store, board))}
    # The row "single" is better than "good" in both metrics, and would take it off the front.
    assert {title for title, point in by_title.items() if point.on_front} == {"good", "exact"}
    shares = {title: point.share for title, point in by_title.items()}
    assert {title for title, share in shares.items() if share is not None} == {"good", "fair", "third", "exact"}
    # The draws of the candidates alone: the shares do not change if the other rows are left out.
    candidates = [row for row in board.rows if row.title in ("good", "fair", "third", "exact")]
    alone = {point.row.title: point.share for point in points(candidates, x, y, RowErrors(store, board))}
    assert {title: shares[title] for title in alone} == alone and alone["exact"] == 1.0


def test_flagged_and_virtual_rows_are_hollow_and_controls_are_lines(store: Store, board: Board) -> None:
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("unit_overlap", "ms_score"))
    figure = front_figure(points(board.rows, x, y, RowErrors(store, board)), x, y)
    rows = {row["name"]: row for row in figure["datasets"]["measured"]}
    hollow = {name for name, row in rows.items() if row["fill_opacity"] == 0}
    assert hollow == {*(f"{title} [{flag}]" for title, flag in FLAGGED.items()), "ghost (virtual)"}
    for name, row in rows.items():
        assert (row["colour"] == GREY == row["outline"]) == (name in hollow)
    assert "collapsed, mean overlap with the nearest unit" in rows["copies [collapsed]"]["text"]
    assert "not ranked: virtual" in rows["ghost (virtual)"]["status"]
    assert {row["kind"] for row in figure["datasets"]["kinds"]} == {
        "measured here",
        "not ranked",
    }
    controls = {row["name"]: row for row in figure["datasets"]["controls"]}
    assert set(controls) == {"random atoms", "backbone only"} and all(CELL in row for row in controls.values())
    assert controls["random atoms"]["y"] == pytest.approx(51.0)
    # Neighbours are named at different places of the line.
    assert len({row["x"] for row in controls.values()}) == 2
    # All overlaps of candidates are equal, so the front is one method and no line.
    assert "line" not in figure["datasets"] and rows["good"]["outline_px"] > rows["fair"]["outline_px"]


def test_a_control_does_not_widen_the_horizontal_axis(store: Store, board: Board) -> None:
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("r2", "ms_score"))
    far = (-30000.0, -30000.0, -30000.0)
    figure = front_figure(
        [
            dataclasses.replace(point, x=far) if point.row.group == "control" else point
            for point in points(board.rows, x, y, RowErrors(store, board))
        ],
        x,
        y,
    )
    measured = next(layer for layer in figure["layer"] if layer["data"]["name"] == "measured")
    assert measured["encoding"]["x"]["scale"]["domain"][0] > 0
    # Its value is in the tooltip.
    assert {row["x_text"] for row in figure["datasets"]["controls"]} == {"−30000.00 %"}


def test_ranks_and_their_intervals_are_among_the_ranked_rows(store: Store, board: Board) -> None:
    columns = {column.metric: column for column in board.columns}
    spans = dict(
        zip(
            (row.title for row in board.rows),
            ranks_of(board.rows, columns["ms_score"], RowErrors(store, board)),
            strict=True,
        )
    )
    ranked = {"good", "fair", "third", "exact", "ghost"}
    assert {title for title, span in spans.items() if span is not None} == ranked
    assert spans["ghost"] == (1, 1) and all(1 <= low <= high <= 4 for low, high in filter(None, spans.values()))
    for row in board.rows:
        rank = row.metrics["ms_score"].rank
        span = spans[row.title]
        assert (rank is None) == (span is None) and (span is None or span[0] <= rank <= span[1])
    # Lossless by construction: not ranked in R2, and not counted against the others.
    of_r2 = ranks_of(board.rows, columns["r2"], RowErrors(store, board))
    by_title = dict(zip((row.title for row in board.rows), of_r2, strict=True))
    assert by_title["exact"] is None and by_title["good"] is not None and by_title["good"][0] == 1


@pytest.mark.parametrize("page", ["front", "leaderboard", "runs"])
def test_pages_of_many_rows_name_the_flags_and_have_their_sentences(here: Store, page: str) -> None:
    test = opened(page)
    require_sound(test)
    written = texts(test)
    if page == "front":
        names = box(test, "Method in focus").options
        assert all(f"{title} [{flag}]" in names for title, flag in FLAGGED.items())
        # Those with a serious flag and the virtual one are named under the plot, where they are not drawn.
        # The virtual one has no R2, so it is not drawn in any case.
        hidden = plain(
            "copies (collapsed), broken net (below floor), guesses (at chance: not above its random control)"
        )
        assert f"3 rows hidden: {hidden}." in written and "ghost (it has no R2)" in written.replace("\\", "")
    for words in ("collapsed: copies", "below floor: broken net", "at chance: guesses", "one seed: single"):
        assert plain(words) in written
    assert plain("mean overlap with the nearest unit 99.00 % is above 97 %") in written


@pytest.mark.parametrize("page", ["method", "units", "compare"])
def test_pages_of_one_row_warn_of_its_flags(here: Store, page: str) -> None:
    names = ("a", "b") if page == "compare" else ("cell",)
    test = opened(page, **dict(zip(names, ("copies-1", "good-1"), strict=False)))
    require_sound(test)
    assert any(plain("collapsed: copies: mean overlap") in str(warning.value) for warning in test.warning)
    label = {"method": "Method", "units": "Method", "compare": "A"}[page]
    assert "copies [collapsed]" in box(test, label).options
    if page == "method":
        assert test.title[0].value == plain("copies [collapsed]")
        measured = test.dataframe[0].value.set_index("metric")
        assert measured.loc["MS score ↑", "over"] == "3 seeds, 102 units each"
        assert measured.loc["accuracy ↑", "over"] == "3 seeds, 100 images each"
        assert measured.loc["MS score ↑", "rank"] == "" and "±" in measured.loc["accuracy ↑", "value"]
    if page == "compare":
        assert "A: copies [collapsed]" in test.dataframe[0].value.columns


def test_the_headline_opens_the_front(here: Store, board: Board) -> None:
    content = headline(here, board)
    assert content is not None
    written = texts(opened("front"))
    assert plain(content.sentence) in written
    for contrast in content.contrasts:
        assert plain(contrast.sentence) in written


def test_pages_begin_with_elude_and_the_best_sae_without_a_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    sae = {"claims": {"family": "sae"}}
    extra = [fraction("unique_units", 0.8)]
    record(store, "a first name", [0.70, 0.71])
    record(store, "ELUDe", [0.60, 0.61], method="elude", claims={"family": "split"}, extra=extra)
    record(store, "copies", [0.80, 0.81], overlap=0.99, **sae)
    record(store, "lucky", [0.75], **sae)
    record(store, "weak", [0.40, 0.41], **sae)
    record(store, "strong", [0.50, 0.51], extra=[fraction("unique_units", 0.7)], **sae)
    (board,) = leaderboard(store)
    selected = contrasted_rows(board)
    assert selected is not None and selected[1].title == "ELUDe"
    assert [(role, row.title) for role, row in selected[2]] == [("best unflagged SAE", "strong")]
    show(store, monkeypatch)
    assert box(opened("units"), "Method").value.split()[1] == "ELUDe"
    test = opened("compare")
    assert [box(test, label).value.split()[1] for label in "AB"] == ["ELUDe", "strong"]
    tested, untested = (frame.value.set_index("metric") for frame in test.dataframe)
    assert "MS score" in tested.index
    assert untested.loc["unique units", "why not tested"] == "another form of unit overlap"
    # Another row is compared with the row in focus.
    rivals = (rival_row(board, row) for row in board.rows if row.title == "weak")
    assert [rival.row.title for rival in rivals if rival] == ["ELUDe"]


def test_judges_names_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    record(store, "good", [0.60, 0.61])
    record(store, "copies", [0.90, 0.91], overlap=0.99)
    ids = store.cells().set_index("cell_id")["config_id"]
    numbers = {"win_rate": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 8, "ties": 0, "wins": 4, "strength": 0.0}
    rates = pd.DataFrame(
        [
            {"config_id": ids[f"{name}-1"], "label": name, "cell_ids": [f"{name}-1"], "rank": rank, **numbers}
            for rank, name in enumerate(("copies", "good"), start=1)
        ]
    )
    comparison = {"pair_id": "p", "order": 0, "cell_a": "good-1", "unit_a": 0, "grid_a": "x", "cell_b": "copies-1",
             "unit_b": 0, "grid_b": "y"}  # fmt: skip
    settings = {"tournament": "t", "panel": "proxy:one", "judges": ["j"], "prompt_version": "1", "settings": {}}
    tournament = TournamentRecord(**settings, agreement=0.2)
    judgments.record_tournament(store, tournament, rates, pd.DataFrame([comparison]))
    show(store, monkeypatch)
    test = opened("judges")
    require_sound(test)
    assert test.dataframe[0].value["method"].tolist() == ["copies [collapsed]", "good"]
    written = texts(test)
    assert f"{plain('copies [collapsed]')}, unit 0" in written
    assert plain("collapsed: copies at fc: mean overlap") in written and "A single judge" in written


def test_the_app_and_the_terminal_use_the_same_words(board: Board) -> None:
    assert [f"{title_and_unit(column)}{column.arrow}" for column in board.columns] == list(map(heading, board.columns))
    assert len({heading(column) for column in board.columns}) == len(board.columns)


def test_a_store_of_single_seeds_has_no_front_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    record(store, "one", [0.60])
    record(store, "two", [0.50], r2=0.9)
    (board,) = leaderboard(store)
    assert all(flags_of(row, FlagInputs(board.rows, board.columns)) for row in board.rows)
    show(store, monkeypatch)
    test = opened("front")
    require_sound(test)
    assert "no method with both metrics is without a flag" in texts(test)
    frame = test.get("table")[-1].value
    assert np.all(frame["on the front"] == "not ranked")


def test_a_board_of_controls_alone_has_a_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    record(store, "backbone only", [0.52, 0.52], method="identity", claims={"family": "control"}, r2=1.0)
    show(store, monkeypatch)
    test = opened("front")
    require_sound(test)
    assert test.get("vega_lite_chart") and "There is no front" in texts(test)
