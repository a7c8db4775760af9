"""Ranking of the leaderboard, refusals to rank, and printing."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from results import CellRecord, ScoreRecord, Store, StoreError, leaderboard, open_store
from results.boards.board import Aggregate, Board, Column, Row, digits_of
from results.boards.build import board_frame, board_json, render_text

pytestmark = pytest.mark.run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results.duckdb", read_only=False)


def cell(cell_id: str, method: str = "elude", seed: int = 42, **changes: Any) -> CellRecord:
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "status": "finished",
        "backbone": "vits",
        "backbone_title": "DINOv2 ViT-S/14",
        "site": "blocks.9.mlp.fc2",
        "dataset": "photographs",
        "probing_fingerprint": "probing-1",
        "evaluation_fingerprint": "evaluation-1",
        "method": method,
        "token_seed": seed,
        "device": "CPU",
    }
    return CellRecord(**(fields | changes))


def ms(value: float, **changes: Any) -> ScoreRecord:
    fields: dict[str, Any] = {"metric": "ms_score", "value": value, "unit": "fraction"}
    return ScoreRecord(**(fields | changes))


def fill(store: Store, values: dict[str, list[float]], **score: Any) -> Board:
    for method, seeds in values.items():
        for index, value in enumerate(seeds):
            store.record(cell(f"{method}-{index}", method, index), [ms(value, **score)])
    (board,) = leaderboard(store)
    return board


def row(board: Board, label: str) -> Row:
    (match,) = [row for row in board.rows if row.label == label]
    return match


def aggregate(board: Board, label: str, key: str = "ms_score") -> Aggregate:
    return row(board, label).metrics[key]


def test_mean_and_sample_standard_deviation_over_seeds(store: Store) -> None:
    board = fill(store, {"elude": [0.1, 0.2, 0.3], "pca": [0.5]}, uncertainty=0.02)
    elude = aggregate(board, "elude")
    assert (elude.mean, elude.std, elude.n) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert elude.values == (0.1, 0.2, 0.3)
    assert elude.standard_error == pytest.approx(0.02)
    assert aggregate(board, "pca").std is None


def test_rows_are_sorted_by_ms_score_and_rows_without_it_come_last(store: Store) -> None:
    store.record(cell("x", "aaa"), [ScoreRecord(metric="r2", value=1.0)])
    board = fill(store, {"low": [0.1], "high": [0.9], "middle": [0.5]})
    assert [row.label for row in board.rows] == ["high", "middle", "low", "aaa"]


def test_sorting_by_a_metric_where_lower_is_better(store: Store) -> None:
    for method, milliseconds in (("slow", 9.0), ("fast", 1.0)):
        for seed in (1, 2):
            time = ScoreRecord(metric="time", value=milliseconds, direction="lower")
            store.record(cell(f"{method}{seed}", method, seed), [time])
    (board,) = leaderboard(store, sort_by="time")
    assert [row.label for row in board.rows] == ["fast", "slow"]
    assert [row.metrics["time"].rank for row in board.rows] == [1, 2]
    with pytest.raises(StoreError, match=r"No cell here has the metric 'tme'. Did you mean time\? Available: time"):
        leaderboard(store, sort_by="tme")


def test_a_tie_at_the_printed_digits_shares_a_rank(store: Store) -> None:
    board = fill(store, {"a": [0.50001] * 2, "b": [0.50002] * 2, "c": [0.4] * 2, "d": [0.3] * 2})
    ranks = {label: (aggregate(board, label).rank, aggregate(board, label).mark) for label in "abcd"}
    assert ranks == {"a": (1, "best"), "b": (1, "best"), "c": (3, "second"), "d": (4, None)}


def test_a_metric_without_a_direction_has_no_rank(store: Store) -> None:
    board = fill(store, {"a": [0.1], "b": [0.2]}, direction="none")
    assert aggregate(board, "a").rank is None and aggregate(board, "b").mark is None


def test_two_versions_of_a_metric_are_two_columns_and_a_note(store: Store) -> None:
    for seed in (1, 2):
        store.record(cell(f"a{seed}", "a", seed), [ms(0.9, version=1)])
        store.record(cell(f"b{seed}", "b", seed), [ms(0.1, version=2)])
    (board,) = leaderboard(store)
    assert [column.key for column in board.columns] == ["ms_score@2", "ms_score@1"]
    assert aggregate(board, "a", "ms_score@1").rank == 1 and aggregate(board, "b", "ms_score@2").rank == 1
    assert "ms_score" not in row(board, "a").metrics
    assert (
        "ms_score@1 and ms_score@2 are not ranked together: they are different versions of the metric." in board.notes
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"params": {"top_k": 20}}, "their parameters differ"),
        ({"panel": "other judges"}, "different panels"),
        ({"evaluation_fingerprint": "evaluation-2"}, "different evaluation sets"),
        ({"unit": ""}, "their units differ"),
    ],
)
def test_what_else_parts_columns(store: Store, change: dict[str, Any], reason: str) -> None:
    usual: dict[str, Any] = {"params": {"top_k": 100}, "panel": "three judges"}
    store.record(cell("a", "a"), [ms(0.9, **usual)])
    store.record(cell("b", "b"), [ms(0.1, **(usual | change))])
    (board,) = leaderboard(store)
    assert len(board.columns) == 2 and len({column.key for column in board.columns}) == 2
    assert [len(row.metrics) for row in board.rows] == [1, 1]
    assert any(reason in note and "not ranked together" in note for note in board.notes)


def test_time_on_two_devices_is_two_columns_and_accuracy_on_two_devices_is_one(store: Store) -> None:
    for device in ("CPU", "H100"):
        scores = [ScoreRecord(metric="ms_per_batch", value=1.0, unit="ms", direction="lower"), ms(0.5)]
        store.record(cell(device, device, device=device), scores)
    (board,) = leaderboard(store)
    assert [column.key for column in board.columns] == ["ms_score", "ms_per_batch[CPU]", "ms_per_batch[H100]"]
    assert any("different devices" in note for note in board.notes)


@pytest.mark.parametrize(
    ("field", "what"),
    [("dataset", "data sets"), ("evaluation_fingerprint", "evaluation sets"), ("probing_fingerprint", "probing sets")],
)
def test_cells_of_different_sets_are_on_different_boards_and_each_says_so(store: Store, field: str, what: str) -> None:
    one: dict[str, Any] = {field: "one"}
    two: dict[str, Any] = {field: "two"}
    store.record(cell("a", "a", **one), [ms(0.9)])
    store.record(cell("b", "b", **two), [ms(0.1)])
    boards = leaderboard(store)
    assert [[row.label for row in board.rows] for board in boards] == [["a"], ["b"]]
    for board, other in zip(boards, ("two", "one"), strict=True):
        assert any(f"different {what} are not ranked together" in note and other in note for note in board.notes)


def test_nan_is_counted_and_left_out_of_the_mean(store: Store) -> None:
    board = fill(store, {"elude": [0.2, math.nan, 0.4], "pca": [math.nan]})
    elude = aggregate(board, "elude")
    assert (elude.mean, elude.n, elude.n_undefined) == (pytest.approx(0.3), 2, 1)
    assert row(board, "pca").metrics == {} and row(board, "pca").undefined == {"ms_score": 1}
    text = render_text(board, 200)
    assert "ms_score of elude, 1 of 3 values not finite" in text
    assert "ms_score of pca, 1 of 1 values not finite" in text
    assert any(line.startswith("pca") and "undefined" in line for line in text.splitlines())


def test_failed_cells_are_shown_with_their_error_and_in_no_mean(store: Store) -> None:
    failure = {"status": "failed", "error_type": "ValueError", "error_message": "too few tokens"}
    fill(store, {"elude": [0.2, 0.4]})
    store.record(cell("f", "elude", 7, **failure), [ms(99.0)])
    store.record(cell("g", "pca", 7, **failure))
    (board,) = leaderboard(store)
    assert aggregate(board, "elude").mean == pytest.approx(0.3)
    assert (row(board, "elude").n_finished, row(board, "elude").n_failed) == (2, 1)
    assert row(board, "pca").errors == ("ValueError: too few tokens (token seed 7)",)
    text = render_text(board, 200)
    assert "2/3" in text and "failed: pca, 1 of 1 cells: ValueError: too few tokens (token seed 7)" in text


def test_a_label_with_two_configurations_is_two_rows_that_say_which(store: Store) -> None:
    for k in (16, 32):
        store.record(cell(str(k), "topk_sae", config={"k": k, "lr": 0.1}), [ms(k / 100)])
    (board,) = leaderboard(store)
    assert [row.title for row in board.rows] == ["topk_sae (k=32)", "topk_sae (k=16)"]


def test_of_two_cells_with_the_same_seeds_only_the_newer_counts(store: Store) -> None:
    for cell_id, year, value in (("new", 2026, 0.8), ("old", 2025, 0.2)):
        store.record(cell(cell_id, started_at=datetime(year, 1, 1, tzinfo=UTC)), [ms(value)])
    (board,) = leaderboard(store)
    assert aggregate(board, "elude").values == (0.8,)
    assert any("more than one cell with token seed 42" in note for note in board.notes)


def test_a_sweep_s_trials_are_no_rows_beside_other_cells(store: Store) -> None:
    for index, value in enumerate((0.1, 0.9)):
        trial = cell(f"trial-{index}", "topk_sae", suite="demo-sweep", config={"k": index})
        store.record(trial, [ScoreRecord(metric="r2", value=value)])
    # With nothing else on the board the trials are what there is to see.
    (board,) = leaderboard(store)
    assert len(board.rows) == 2 and board.notes == ()
    # Measured later than the chosen cell, and of its configuration and seeds: the trial must not take its place.
    chosen = cell("chosen", "topk_sae", suite="demo", config={"k": 1}, started_at=datetime(2020, 1, 1, tzinfo=UTC))
    store.record(chosen, [ms(0.5)])
    (board,) = leaderboard(store)
    assert [(board_row.cell_ids, board_row.n_finished) for board_row in board.rows] == [(("chosen",), 1)]
    assert [column.key for column in board.columns] == ["ms_score"]
    assert board.notes == ("2 cells of sweeps are left out; see the boards of the suite demo-sweep.",)
    assert len(leaderboard(store, suite="demo-sweep")[0].rows) == 2
    assert len(leaderboard(store, cell_ids=["trial-0", "chosen"])[0].rows) == 2


def test_details_are_named_under_the_table_and_shown_when_asked_for(store: Store) -> None:
    scores = [
        ms(0.5),
        ScoreRecord(metric="my_metric", value=0.25),
        ScoreRecord(metric="max_collinearity", value=math.nan, direction="lower"),
        ScoreRecord(metric="nearest_cosine_p95", value=0.75, direction="lower", params={"of": "reader"}),
        ScoreRecord(metric="ms_score_null", value=0.125, direction="none"),
    ]
    store.record(cell("a", "a"), scores)
    again = ScoreRecord(metric="nearest_cosine_p95", value=0.75, direction="lower", params={"of": "writer"})
    store.record(cell("b", "b"), [ms(0.4), again])
    (board,) = leaderboard(store)
    short, long = render_text(board, 200, details=False), render_text(board, 200)
    assert "my metric" in short and "0.7500" not in short and "not ranked together" not in short
    assert "undefined: max_collinearity" not in short and "undefined: max_collinearity" in long
    assert (
        "further metrics, with `harness leaderboard --all`: max_collinearity, ms_score_null, nearest_cosine_p95"
        in " ".join(short.split())
    )
    assert "0.7500" in long and "not ranked together" in long and "further metrics" not in long


def test_columns_that_differ_in_the_same_way_share_one_note(store: Store) -> None:
    for method, side in (("a", "reader"), ("b", "writer")):
        scores = [ScoreRecord(metric=name, value=0.5, params={"of": side}) for name in ("one", "two", "three")]
        store.record(cell(method, method), scores)
    (board,) = leaderboard(store)
    assert board.notes == (
        "one, three and two: [of=writer] and [of=reader] of each are not ranked together: their parameters differ.",
    )


def test_a_board_of_details_alone_shows_them(store: Store) -> None:
    store.record(cell("a", "a"), [ScoreRecord(metric="unit_overlap", value=0.5, direction="lower")])
    assert "unit overlap" in render_text(leaderboard(store)[0], 100, details=False)


def test_floors_are_a_footer_and_not_columns(store: Store) -> None:
    for index, value in enumerate((0.12, 0.13)):
        floors = [
            ScoreRecord(metric="floor_zero_accuracy", value=0.12, unit="fraction", direction="none"),
            ScoreRecord(metric="floor_mean_accuracy", value=value, unit="fraction", direction="none"),
        ]
        store.record(cell(str(index), seed=index), [ms(0.5), *floors])
    (board,) = leaderboard(store)
    assert [column.key for column in board.columns] == ["ms_score"]
    text = render_text(board, 200)
    assert "floors: mean-ablation accuracy 12.00 to 13.00 %, zero-ablation accuracy 12.00 %" in text


def test_floors_are_no_metric_of_a_row(store: Store) -> None:
    for method, floor in (("a", 0.12), ("b", math.nan)):
        floors = [ScoreRecord(metric="floor_zero_accuracy", value=floor, unit="fraction", direction="none")]
        store.record(cell(method, method), [ms(0.5), *floors])
    (board,) = leaderboard(store)
    assert all(set(board_row.metrics) == {"ms_score"} and board_row.undefined == {} for board_row in board.rows)
    (floor,) = board.floors
    assert (floor.column.metric, floor.low, floor.high) == ("floor_zero_accuracy", 0.12, 0.12)


def test_a_floor_that_is_undefined_in_every_cell_is_left_out(store: Store) -> None:
    for method in ("a", "b"):
        floors = [ScoreRecord(metric="floor_zero_accuracy", value=math.nan, unit="fraction", direction="none")]
        store.record(cell(method, method), [ms(0.5), *floors])
    (board,) = leaderboard(store)
    assert board.floors == () and "floors:" not in render_text(board, 200)


def test_undefined_values_have_no_say_in_the_digits(store: Store) -> None:
    """437.7 has one decimal at four significant digits; NaN came first and has none."""
    for index, value in enumerate((math.nan, 437.7, math.inf)):
        store.record(cell(str(index), seed=index), [ScoreRecord(metric="time", value=value, unit="GFLOP")])
    (board,) = leaderboard(store)
    assert [column.digits for column in board.columns] == [1]


def test_suite_backbone_site_and_cell_ids_narrow_it(store: Store) -> None:
    store.record(cell("a", "a", suite="demo"), [ms(0.1)])
    store.record(cell("b", "b", suite="paper", backbone="vitb"), [ms(0.2)])
    assert [board.backbone for board in leaderboard(store)] == ["vitb", "vits"]
    assert [board.backbone for board in leaderboard(store, suite="demo")] == ["vits"]
    assert [board.backbone for board in leaderboard(store, backbone="vitb")] == ["vitb"]
    assert [board.backbone for board in leaderboard(store, cell_ids=["a"])] == ["vits"]
    assert leaderboard(store, site="elsewhere") == []


def test_the_printed_table(store: Store) -> None:
    for index, (high, low) in enumerate(((0.5819, 0.4), (0.5831, 0.41), (0.5843, 0.42))):
        store.record(cell(f"e{index}", "elude", index), [ms(high), ScoreRecord(metric="r2", value=1.0)])
        store.record(cell(f"t{index}", "topk_sae", index), [ms(low), ScoreRecord(metric="r2", value=0.875)])
    store.record(cell("m", "mine", 0), [ms(0.5)])
    store.record(cell("i", "identity", 0), [ms(0.3, uncertainty=0.0123)])
    (board,) = leaderboard(store)
    # A vertical bar ends each line, so that no editor eats the spaces.
    assert [line + "|" for line in render_text(board, 80).splitlines()[:18]] == [
        "DINOv2 ViT-S/14 · blocks.9.mlp.fc2 · photographs|",
        "evaluation evaluation-1, probing probing-1|",
        "|",
        "                        interpretability   faithfulness|",
        "method               n     MS score (%) ↑        R2 ↑|",
        "-------------------  -  -----------------  ----------|",
        "elude                3  58.31 ± 0.07 best  1.000 best|",
        "mine [one seed]      1  50.00                  -|",
        "topk_sae             3  41.00 ± 0.58       0.875|",
        "-- controls: for comparison, not ranked|",
        "identity [one seed]  1  30.00 ± 1.23           -|",
        "|",
        "one seed: mine; identity: the spread over seeds is unknown; an error is that of|",
        "  the units or images of one seed|",
        "|",
        "MS score (ms_score): mean similarity of the images that activate a unit most|",
        "R2 (r2): share of the variance of the layer's output that the units reconstruct|",
        "±: standard error of the mean, from the spread over seeds and from the units or|",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_wide_boards_go_on_in_blocks_within_the_width(store: Store, width: int) -> None:
    scores = [ScoreRecord(metric=f"metric_{index}", value=float(index)) for index in range(12)]
    store.record(cell("a", "a"), scores)
    store.record(cell("b", "b"), scores)
    text = render_text(leaderboard(store)[0], width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(f"metric {index} ↑" in text for index in range(12))


@pytest.mark.parametrize("name", ["'; DROP TABLE scores; --", "[red]bold[/red]", "Метод ünïcode", "a  b", "%s {0}"])
def test_odd_names_are_shown_as_they_are(store: Store, name: str) -> None:
    board = fill(store, {name: [0.5], "elude": [0.6]})
    assert aggregate(board, name).mean == 0.5
    assert any(line.startswith(name) for line in render_text(board).splitlines())


def test_a_name_cannot_move_the_cursor(store: Store) -> None:
    text = render_text(fill(store, {"evil\x1b[2J\nname": [0.5]}))
    assert "\x1b" not in text and "evil\\x1b[2J\\nname" in text


def test_wide_characters_keep_the_columns_under_one_another(store: Store) -> None:
    lines = render_text(fill(store, {"方法": [0.5], "abcd": [0.4]})).splitlines()
    wide, narrow = next(line for line in lines if "方法" in line), next(line for line in lines if "abcd" in line)
    assert wide.index("50.00") + 2 == narrow.index("40.00")


def test_the_frame_and_the_json_hold_what_is_printed(store: Store) -> None:
    board = fill(store, {"elude": [0.1, 0.3], "pca": [math.nan]})
    frame = board_frame(board).set_index("label")
    assert frame.loc["elude", "ms_score"] == pytest.approx(0.2)
    assert frame.loc["elude", "ms_score_total_error"] == pytest.approx(0.1) and frame.loc["elude", "flags"] == ""
    assert frame.loc["elude", "ms_score_n"] == 2 and frame.loc["elude", "ms_score_rank"] == 1
    assert math.isnan(frame.loc["pca", "ms_score"])
    content = json.loads(json.dumps(board_json(board), allow_nan=False))
    assert content["rows"][0]["metrics"]["ms_score"]["values"] == [0.1, 0.3]
    assert content["columns"][0]["key"] == "ms_score" and content["dataset"] == "photographs"


def test_it_is_deterministic_whatever_the_order_of_writing(store: Store, tmp_path: Path) -> None:
    other = open_store(tmp_path / "other.duckdb", read_only=False)
    records = [cell(f"{method}-{seed}", method, seed) for method in "cab" for seed in (7, 42)]
    for record in records:
        store.record(record, [ms(0.5, version=record.token_seed or 1)])
    for record in reversed(records):
        other.record(record, [ms(0.5, version=record.token_seed or 1)])
    assert board_json(leaderboard(store)[0]) == board_json(leaderboard(other)[0])


def test_an_empty_store_has_no_boards(store: Store) -> None:
    assert leaderboard(store) == []


def test_a_board_of_failed_cells_only_prints(store: Store) -> None:
    store.record(cell("f", status="failed"))
    (board,) = leaderboard(store)
    assert board.columns == () and "failed: elude, 1 of 1 cells: Error: no message" in render_text(board)
    assert board_frame(board)["n_failed"].tolist() == [1]


@pytest.mark.parametrize(
    ("unit", "values", "digits"),
    [("fraction", [0.5], 2), ("", [7.49], 3), ("ms", [437.7], 1), ("", [6144.0], 0), ("", [0.0012], 6), ("", [], 3)],
)
def test_digits(unit: str, values: list[float], digits: int) -> None:
    assert digits_of(unit, values) == digits


def test_minus_zero_is_printed_as_zero() -> None:
    column = Column(
        key="m",
        metric="m",
        version=1,
        params={},
        panel=None,
        evaluation_fingerprint=None,
        device=None,
        unit="fraction",
        direction="higher",
    )
    assert column.text(-0.00001) == "0.00"
