"""Flags of planted rows, their bounds, and everything that must not be flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flagged_store import fraction, make_store, record

from results import CellRecord, ScoreRecord, Store, leaderboard, open_store
from results.boards.board import Board, Row
from results.boards.flags import AT_CHANCE, BELOW_FLOOR, COLLAPSED, COLLAPSED_COSINE, COLLAPSED_OVERLAP, ONE_SEED

pytestmark = pytest.mark.run
SAE = {"family": "sae"}
CONTROL = {"family": "control", "control_for": ["sae"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results.duckdb", read_only=False)


def row_of(board: Board, label: str) -> Row:
    (match,) = [row for row in board.rows if row.label == label]
    return match


def names(store: Store, label: str) -> list[str]:
    (board,) = leaderboard(store)
    return [flag.name for flag in row_of(board, label).flags]


def sentence(store: Store, label: str, name: str) -> str:
    (board,) = leaderboard(store)
    (match,) = [flag for flag in row_of(board, label).flags if flag.name == name]
    return match.sentence


def test_each_planted_row_has_its_flag_and_no_other(tmp_path: Path) -> None:
    (board,) = leaderboard(make_store(tmp_path / "s.duckdb"))
    flags = {row.label: [flag.name for flag in row.flags] for row in board.rows}
    assert {label: given for label, given in flags.items() if given} == {
        "copies": [COLLAPSED],
        "broken net": [BELOW_FLOOR],
        "guesses": [AT_CHANCE],
        "single": [ONE_SEED],
    }


@pytest.mark.parametrize(
    ("overlap", "cosine", "across", "is_collapsed"),
    [
        # ELUDe, TopK SAE on the EfficientNet, planted truth, DNRwCV centred, DNRwCV: as measured.
        (0.422, 0.569, 0.400, False),
        (0.582, 0.185, None, False),
        (0.946, 0.938, None, False),
        (0.930, 0.9815, 0.930, True),
        (0.994, 0.999, 0.994, True),
        (COLLAPSED_OVERLAP, COLLAPSED_COSINE, None, False),
        # Sub-units of one neuron may share their images.
        (0.99, 0.5, 0.4, False),
    ],
)
def test_collapse_is_decided_by_its_bounds(
    store: Store, overlap: float, cosine: float, across: float | None, is_collapsed: bool
) -> None:
    extra = [] if across is None else [fraction("unit_overlap_across", across, direction="lower")]
    record(store, "m", [0.5, 0.6], overlap=overlap, cosine=cosine, extra=extra)
    assert names(store, "m") == ([COLLAPSED] if is_collapsed else [])


def test_the_sentence_of_a_collapsed_row_has_its_numbers(store: Store) -> None:
    record(store, "m", [0.5, 0.6], overlap=0.9943, cosine=0.5)
    assert sentence(store, "m", COLLAPSED) == (
        "mean overlap with the nearest unit 99.43 % is above 97 %: its units repeat each other"
    )


@pytest.mark.parametrize(
    ("accuracy", "agreement", "claims", "is_below"),
    [
        (0.5, 0.9, {}, True),
        (0.49, 0.9, {}, True),
        (0.51, 0.2, {}, False),
        (None, 0.5, {}, True),
        (None, 0.51, {}, False),
        (None, None, {}, False),
        (0.4, 0.4, {"virtual": True}, False),
    ],
)
def test_accuracy_or_else_agreement_must_be_above_mean_ablation(
    store: Store, accuracy: float | None, agreement: float | None, claims: dict[str, Any], is_below: bool
) -> None:
    record(store, "m", [0.5, 0.6], accuracy=accuracy, agreement=agreement, claims=claims)
    assert names(store, "m") == ([BELOW_FLOOR] if is_below else [])
    if is_below:
        assert "is not above the 50.00 % of mean ablation" in sentence(store, "m", BELOW_FLOOR)


@pytest.mark.parametrize(
    ("ms", "error", "factor", "claims", "is_at_chance"),
    [
        ([0.50, 0.51, 0.52], 0.01, 4.0, SAE, True),
        ([0.60, 0.61, 0.62], 0.01, 4.0, SAE, False),
        ([0.40, 0.41, 0.42], 0.01, 4.0, SAE, True),  # clearly below is not above
        ([0.60, 0.61, 0.62], 0.05, 4.0, SAE, True),  # the units' error alone makes it inseparable
        ([0.50, 0.51, 0.52], 0.01, 4.19, SAE, True),
        ([0.50, 0.51, 0.52], 0.01, 4.3, SAE, False),  # other number of units: no matching control
        ([0.50, 0.51, 0.52], 0.01, 4.0, {"family": "split"}, False),  # a control of another family
    ],
)
def test_a_row_must_be_separable_from_its_count_matched_control(
    store: Store, ms: list[float], error: float, factor: float, claims: dict[str, Any], is_at_chance: bool
) -> None:
    record(store, "m", ms, error=error, factor=factor, claims=claims)
    record(store, "random", [0.50, 0.51, 0.52], claims=CONTROL, factor=4.1)
    assert names(store, "m") == ([AT_CHANCE] if is_at_chance else [])


def test_of_several_controls_the_best_counts(store: Store) -> None:
    record(store, "m", [0.60, 0.61, 0.62], claims=SAE)
    record(store, "weak", [0.2, 0.21, 0.22], claims=CONTROL)
    record(store, "strong", [0.59, 0.60, 0.61], claims=CONTROL)
    assert names(store, "m") == [AT_CHANCE] and "that of strong" in sentence(store, "m", AT_CHANCE)


def test_with_one_seed_the_errors_within_cells_decide_and_the_sentence_says_so(store: Store) -> None:
    record(store, "m", [0.51], claims=SAE)
    record(store, "random", [0.40, 0.50, 0.60], claims=CONTROL)
    # Over seeds the control is uncertain by .06; within cells both by .01: [-.018, .038].
    assert names(store, "m") == [AT_CHANCE, ONE_SEED]
    text = sentence(store, "m", AT_CHANCE)
    assert "is 1.00 % [-1.77, 3.77]: not above chance" in text
    assert text.endswith("(from the standard errors within cells only, because m has one seed)")
    record(store, "m", [0.54], claims=SAE)
    assert names(store, "m") == [ONE_SEED]


def test_nothing_is_said_about_chance_without_a_known_error(store: Store) -> None:
    record(store, "m", [0.51], claims=SAE, error=None)
    record(store, "random", [0.50], claims=CONTROL, error=None)
    assert names(store, "m") == [ONE_SEED]


def test_the_score_above_random_tokens_of_its_kind_decides_if_it_was_measured(store: Store) -> None:
    # ms_score_adjusted depends on the density of the codes, which a control does not share.
    for metric, is_at_chance in (("ms_score_adjusted", False), ("ms_score_token_adjusted", True)):
        for label, ms, claims in (("m", [0.6, 0.61], SAE), ("random", [0.5, 0.51], CONTROL)):
            score = fraction(metric, 0.1, 0.01, version=2)
            record(store, label, ms, claims=claims, extra=[score])
        (board,) = leaderboard(store)
        given = {flag.name for flag in row_of(board, "m").flags}
        assert (AT_CHANCE in given) is is_at_chance


def test_stores_without_families_know_the_controls_by_name(store: Store) -> None:
    unrecorded: dict[str, Any] = {"family": None, "control_for": None}
    for method in ("topk_sae", "transcoder", "kmeans", "elude", "pure", "mine"):
        record(store, method, [0.50, 0.51, 0.52], claims=unrecorded)
    record(store, "random_dictionary", [0.50, 0.51, 0.52], claims=unrecorded)
    (board,) = leaderboard(store)
    flagged = {row.label for row in board.rows if row.flags}
    assert flagged == {"topk_sae", "transcoder"}
    record(store, "random_split", [0.50, 0.51, 0.52], claims=unrecorded)
    (board,) = leaderboard(store)
    assert {row.label for row in board.rows if row.flags} - flagged == {"elude", "pure"}


def test_seeds_are_counted_in_the_means_only(store: Store) -> None:
    record(store, "m", [0.5, 0.6])
    (cell,) = [record for record in store.cells().to_dict("records") if record["cell_id"] == "m-2"]
    assert cell["token_seed"] == 2 and names(store, "m") == []
    store.forget(["m-2"])
    assert names(store, "m") == [ONE_SEED]


def test_a_row_of_failed_cells_has_no_flag(store: Store) -> None:
    record(store, "m", [0.5])
    store.record(CellRecord(cell_id="f", status="failed", backbone="vit", site="fc", dataset="photos", method="failed"))
    assert names(store, "failed") == []


def test_scores_of_a_plugin_do_not_disturb_the_flags(store: Store) -> None:
    record(store, "m", [0.5, 0.6], extra=[ScoreRecord(metric="unit_overlap_of_mine", value=1.0)])
    assert names(store, "m") == []
