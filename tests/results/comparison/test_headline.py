"""Headline of a board: which rows are compared, the sentence in both directions, and rows without an interval."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from flagged_board import Cells, fraction

from results import Store, StoreError, leaderboard, open_store
from results.boards.board import board_json
from results.boards.text import headline_text, render_text
from results.comparison.headline import (
    BACKBONE_ROLE,
    HIGHEST,
    Headline,
    contrasted_rows,
    difference_text,
    headline,
    headline_json,
    with_headline,
)
from results.export import exported


def stored(cells: Cells, path: Path) -> Store:
    """Write cells to a store."""
    store = open_store(path, read_only=False)
    for cell_id, cell in cells.cells.items():
        store.record(cell, cells.scores[cell_id])
    return open_store(path)


def make_store(path: Path, *, best: tuple[float, ...] = (0.55, 0.56, 0.57)) -> Store:
    """Write ELUDe, a good SAE with the MS scores ``best``, a worse and a collapsed one, and controls."""
    cells = Cells()
    sae, control = {"family": "sae"}, {"family": "control", "control_for": ["split"]}
    lossless, backbone = {"family": "split", "lossless": True}, {"family": "control", "lossless": True}
    cells.record("ELUDe", [0.60, 0.61, 0.62], method="elude", claims=lossless, r2=1.0, agreement=1.0, factor=4.0)
    cells.record("TopK", best, method="topk_sae", claims=sae, r2=0.4, factor=8.0)
    cells.record("worse", [0.3, 0.31, 0.32], method="jumprelu_sae", claims=sae, factor=8.0)
    cells.record("copies", [0.9, 0.91, 0.92], method="vanilla_sae", claims=sae, overlap=0.99, factor=8.0)
    cells.record("backbone only", [0.52, 0.52, 0.52], method="identity", claims=backbone, factor=1.0)
    cells.record("split", [0.5, 0.5, 0.51], method="random_split", claims=control, factor=4.1)
    cells.record("other split", [0.51, 0.51, 0.51], method="random_split", claims=control, factor=2.0)
    return stored(cells, path)


@pytest.fixture(scope="module")
def default_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Store of `make_store`, which the tests only read."""
    return make_store(tmp_path_factory.mktemp("headline") / "s.duckdb")


def of_first_board(store: Store) -> Headline:
    content = headline(store, leaderboard(store)[0])
    assert content is not None
    return content


def test_elude_is_compared_with_the_best_sound_sae_the_backbone_and_its_matched_control(default_store: Store) -> None:
    content = of_first_board(default_store)
    assert content.focus.label == "ELUDe"
    assert [contrast.comparison.b.label for contrast in content.contrasts] == ["TopK", "backbone only", "split"]
    best = content.contrasts[0].score
    assert best.difference == pytest.approx(0.05) and best.low is not None and best.high is not None
    assert content.sentence == (
        f"ELUDe vs the best unflagged SAE (TopK): MS score +5.0 [{100 * best.low:.1f}, {100 * best.high:.1f}], "
        "R2 100 vs 40.0 %, agreement 100 vs 90.0 %."
    )
    # Two lossless methods are equally faithful by construction.
    assert content.contrasts[1].sentence.startswith("ELUDe vs the backbone (backbone only): MS score +9.0 [")
    assert "R2" not in content.contrasts[1].sentence


def test_the_highest_control_is_named_if_it_is_another_one() -> None:
    cells = Cells()
    cells.record("ELUDe", [0.60, 0.61, 0.62], method="elude", claims={"family": "split"}, factor=4.0)
    cells.record("backbone only", [0.52, 0.52, 0.52], method="identity", claims={"family": "control"}, factor=1.0)
    claims = {"family": "control", "control_for": ["sae"]}
    cells.record("random dictionary", [0.58, 0.58, 0.59], method="random_dictionary", claims=claims, factor=8.0)
    selected = contrasted_rows(cells.board())
    assert selected is not None
    assert [(role, row.label) for role, row in selected[2]] == [
        (BACKBONE_ROLE, "backbone only"),
        (HIGHEST, "random dictionary"),
    ]


def test_the_sentence_also_goes_the_other_way(tmp_path: Path) -> None:
    content = of_first_board(make_store(tmp_path / "s.duckdb", best=(0.70, 0.72, 0.74)))
    assert content.sentence.startswith("ELUDe vs the best unflagged SAE (TopK): MS score -11.0 [")
    level = of_first_board(make_store(tmp_path / "l.duckdb", best=(0.60, 0.62, 0.61)))
    assert "MS score 0.0 [" in level.sentence and "] (not separable)" in level.sentence


def test_a_single_pair_of_seeds_gives_no_interval(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb", best=(0.55,))
    content = headline(store, leaderboard(store)[0], focus="worse")
    assert content is not None
    expected = "other SAE (TopK [one seed]): MS score -25.0 (one pair of seeds, so no interval)"
    assert expected in content.sentence


def test_another_row_can_be_in_focus(default_store: Store) -> None:
    (board,) = leaderboard(default_store)
    content = headline(default_store, board, focus="topk")
    assert content is not None
    assert content.sentence.startswith("TopK vs the best unflagged other SAE (worse): MS score +25.0 [")
    with pytest.raises(StoreError, match="no row named 'nobody'"):
        headline(default_store, board, focus="nobody")


def test_without_two_rows_there_is_no_headline(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("ELUDe", [0.6, 0.61], method="elude", claims={"family": "split"})
    store = stored(cells, tmp_path / "s.duckdb")
    (board,) = leaderboard(store)
    assert headline(store, board) is None and with_headline(store, board).headline == ()


def test_boards_and_exports_show_it(default_store: Store) -> None:
    board = with_headline(default_store, leaderboard(default_store)[0])
    sentence = board.headline[0]
    assert len(board.headline) == 3 and sentence in render_text(board, 400)
    assert json.loads(json.dumps(board_json(board)))["headline"][0] == sentence
    assert headline_json(of_first_board(default_store))["contrasts"][0]["sentence"] == sentence
    for form in ("markdown", "html", "latex"):
        text = exported([board], form).decode()
        assert text.count("ELUDe vs the best unflagged SAE") == 1, form
    assert sentence not in render_text(dataclasses.replace(board, headline=()), 400)


def test_the_score_above_chance_is_preferred(tmp_path: Path) -> None:
    cells = Cells()
    for label, value in (("ELUDe", 0.2), ("TopK", 0.3)):
        above = [fraction("ms_score_token_adjusted", value, 0.01, uncertainty_kind="units", n=100)]
        method, family = ("elude", "split") if label == "ELUDe" else ("topk_sae", "sae")
        cells.record(label, [0.6, 0.61, 0.6], method=method, claims={"family": family}, extra=above)
    content = of_first_board(stored(cells, tmp_path / "s.duckdb"))
    assert "MS above chance -10.0 [" in content.sentence


def test_the_role_says_if_flagged_rows_have_a_higher_score() -> None:
    cells, sae, split = Cells(), {"family": "sae"}, {"family": "split"}
    cells.record("ELUDe", [0.60, 0.61, 0.62], method="elude", claims=split)
    cells.record("TopK", [0.55, 0.56, 0.57], claims=sae)
    cells.record("worse", [0.53, 0.54, 0.55], claims=sae)
    assert ("best SAE", "TopK") in roles(cells)
    cells.record("lucky", [0.70], claims=sae)  # flagged `one seed`
    assert ("best unflagged SAE", "TopK") in roles(cells)
    flagged = Cells()
    flagged.record("ELUDe", [0.60, 0.61, 0.62], method="elude", claims=split)
    flagged.record("single", [0.55], claims=sae)
    assert ("best SAE", "single") in roles(flagged)
    flagged.record("copies", [0.90, 0.91, 0.92], claims=sae, overlap=0.99)
    assert ("least flagged SAE", "single") in roles(flagged)


def test_a_better_method_is_not_called_the_next_best() -> None:
    cells = Cells()
    cells.record("ELUDe", [0.60, 0.61, 0.62], method="elude", claims={"family": "split"})
    cells.record("other", [0.70, 0.71, 0.72], claims={"family": "split"})
    assert roles(cells) == [("best other method", "other")]


def test_a_flagged_method_is_not_in_focus_if_another_one_is_sound() -> None:
    cells = Cells()
    cells.record("copies", [0.90, 0.91, 0.92], claims={"family": "mine"}, overlap=0.99)
    cells.record("TopK", [0.55, 0.56, 0.57], claims={"family": "sae"})
    cells.record("worse", [0.50, 0.51, 0.52], claims={"family": "sae"})
    selected = contrasted_rows(cells.board())
    assert selected is not None and selected[1].label == "TopK"


def roles(cells: Cells) -> list[tuple[str, str]]:
    selected = contrasted_rows(cells.board())
    assert selected is not None
    return [(role, row.label) for role, row in selected[2]]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.00053, -0.00076, 0.0021), "+0.05 [-0.08, 0.21] (not separable)"),
        ((-0.0042, -0.028, 0.017), "-0.4 [-2.8, 1.7] (not separable)"),
        ((-0.115, -0.12, -0.11), "-11.5 [-12.0, -11.0]"),
        ((0.0, 0.0, 0.0), "0.0 [0.0, 0.0] (not separable)"),
    ],
)
def test_a_difference_and_its_interval_have_as_many_decimals(
    default_store: Store, values: tuple[float, float, float], text: str
) -> None:
    score = of_first_board(default_store).contrasts[0].score
    difference, low, high = values
    assert difference_text(dataclasses.replace(score, difference=difference, low=low, high=high)) == text


def test_control_characters_of_names_are_escaped_and_the_brackets_explained(default_store: Store) -> None:
    board = with_headline(default_store, leaderboard(default_store)[0])
    hostile = dataclasses.replace(board, headline=("a\x1b[31mb: MS score +5.0 [2.1, 7.7].",))
    assert headline_text(hostile, 100) == ["a\\x1b[31mb: MS score +5.0 [2.1, 7.7]."]
    explained = "headline: difference in percentage points"
    assert explained in render_text(board, 400) and explained not in render_text(leaderboard(default_store)[0], 400)
    for form in ("markdown", "html", "latex"):
        assert explained in exported([board], form).decode(), form
