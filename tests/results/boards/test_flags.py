"""Flags of planted rows, their bounds, and everything that must not be flagged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from flagged_board import Cells, flagged_board, fraction

from results import ScoreRecord
from results.boards.board import Board, Row
from results.boards.flags import AT_CHANCE, BELOW_FLOOR, COLLAPSED, COLLAPSED_COSINE, COLLAPSED_OVERLAP, ONE_SEED

SAE = {"family": "sae"}
CONTROL = {"family": "control", "control_for": ["sae"]}


@pytest.fixture
def cells() -> Cells:
    return Cells()


def row_of(board: Board, label: str) -> Row:
    (match,) = [row for row in board.rows if row.label == label]
    return match


def names(cells: Cells, label: str) -> list[str]:
    return [flag.name for flag in row_of(cells.board(), label).flags]


def sentence(cells: Cells, label: str, name: str) -> str:
    (match,) = [flag for flag in row_of(cells.board(), label).flags if flag.name == name]
    return match.sentence


def test_each_planted_row_has_its_flag_and_no_other() -> None:
    flags = {row.label: [flag.name for flag in row.flags] for row in flagged_board().rows}
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
    cells: Cells, overlap: float, cosine: float, across: float | None, is_collapsed: bool
) -> None:
    extra = [] if across is None else [fraction("unit_overlap_across", across, direction="lower")]
    cells.record("m", [0.5, 0.6], overlap=overlap, cosine=cosine, extra=extra)
    assert names(cells, "m") == ([COLLAPSED] if is_collapsed else [])


def test_the_sentence_of_a_collapsed_row_has_its_numbers(cells: Cells) -> None:
    cells.record("m", [0.5, 0.6], overlap=0.9943, cosine=0.5)
    assert sentence(cells, "m", COLLAPSED) == (
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
    cells: Cells, accuracy: float | None, agreement: float | None, claims: dict[str, Any], is_below: bool
) -> None:
    cells.record("m", [0.5, 0.6], accuracy=accuracy, agreement=agreement, claims=claims)
    assert names(cells, "m") == ([BELOW_FLOOR] if is_below else [])
    if is_below:
        assert "is not above the 50.00 % of mean ablation" in sentence(cells, "m", BELOW_FLOOR)


@pytest.mark.parametrize(
    ("ms", "error", "factor", "claims", "is_at_chance"),
    [
        ([0.50, 0.51, 0.52], 0.01, 4.0, SAE, True),
        ([0.60, 0.61, 0.62], 0.01, 4.0, SAE, False),
        ([0.40, 0.41, 0.42], 0.01, 4.0, SAE, True),  # clearly below is not above
        ([0.60, 0.61, 0.62], 0.05, 4.0, SAE, True),  # the units' error alone makes it inseparable
        ([0.50, 0.51, 0.52], 0.01, 4.19, SAE, True),
        ([0.50, 0.51, 0.52], 0.01, 4.4, SAE, False),  # other number of units: no matching control
        ([0.50, 0.51, 0.52], 0.01, 4.0, {"family": "split"}, False),  # a control of another family
    ],
)
def test_a_row_must_be_separable_from_its_count_matched_control(
    cells: Cells, ms: list[float], error: float, factor: float, claims: dict[str, Any], is_at_chance: bool
) -> None:
    cells.record("m", ms, error=error, factor=factor, claims=claims)
    cells.record("random", [0.50, 0.51, 0.52], claims=CONTROL, factor=4.1)
    assert names(cells, "m") == ([AT_CHANCE] if is_at_chance else [])


def test_of_several_controls_the_best_counts(cells: Cells) -> None:
    cells.record("m", [0.60, 0.61, 0.62], claims=SAE)
    cells.record("weak", [0.2, 0.21, 0.22], claims=CONTROL)
    cells.record("strong", [0.59, 0.60, 0.61], claims=CONTROL)
    assert names(cells, "m") == [AT_CHANCE] and "that of strong" in sentence(cells, "m", AT_CHANCE)


def test_with_one_seed_the_errors_within_cells_decide_and_the_sentence_says_so(cells: Cells) -> None:
    cells.record("m", [0.51], claims=SAE)
    cells.record("random", [0.40, 0.50, 0.60], claims=CONTROL)
    # Over seeds the control is uncertain by .06; within cells both by .01: [-.018, .038].
    assert names(cells, "m") == [AT_CHANCE, ONE_SEED]
    text = sentence(cells, "m", AT_CHANCE)
    assert "is 1.00 percentage points: not above this control by more than the errors within cells" in text
    assert text.endswith("the only known ones, because m has one seed with this score") and "[" not in text
    cells.record("m", [0.54], claims=SAE)
    assert names(cells, "m") == [ONE_SEED]


def test_nothing_is_said_about_chance_without_a_known_error(cells: Cells) -> None:
    cells.record("m", [0.51], claims=SAE, error=None)
    cells.record("random", [0.50], claims=CONTROL, error=None)
    assert names(cells, "m") == [ONE_SEED]


def test_the_score_above_random_tokens_of_its_kind_decides_if_it_was_measured(cells: Cells) -> None:
    # ms_score_adjusted depends on the density of the codes, which a control does not share.
    for metric, is_at_chance in (("ms_score_adjusted", False), ("ms_score_token_adjusted", True)):
        for label, ms, claims in (("m", [0.6, 0.61], SAE), ("random", [0.5, 0.51], CONTROL)):
            score = fraction(metric, 0.1, 0.01, version=2)
            cells.record(label, ms, claims=claims, extra=[score])
        assert (AT_CHANCE in names(cells, "m")) is is_at_chance


def test_stores_without_families_know_the_controls_by_name(cells: Cells) -> None:
    unrecorded: dict[str, Any] = {"family": None, "control_for": None}
    for method in ("topk_sae", "transcoder", "kmeans", "elude", "pure", "mine"):
        cells.record(method, [0.50, 0.51, 0.52], claims=unrecorded)
    cells.record("random_dictionary", [0.50, 0.51, 0.52], claims=unrecorded)
    flagged = {row.label for row in cells.board().rows if row.flags}
    assert flagged == {"topk_sae", "transcoder"}
    cells.record("random_split", [0.50, 0.51, 0.52], claims=unrecorded)
    assert {row.label for row in cells.board().rows if row.flags} - flagged == {"elude", "pure"}


def test_the_flag_of_one_seed_counts_finished_cells_with_different_seeds(cells: Cells) -> None:
    cells.record("m", [0.5, 0.6])
    assert names(cells, "m") == []
    repeated = dataclasses.replace(cells.cells["m-2"], token_seed=1)
    cells.cells["m-2"] = repeated
    assert names(cells, "m") == [ONE_SEED]
    cells.cells["m-2"] = dataclasses.replace(repeated, token_seed=2, status="failed")
    assert names(cells, "m") == [ONE_SEED]


def test_a_row_of_failed_cells_has_no_flag(cells: Cells) -> None:
    cells.record("m", [0.5])
    cells.fail("failed")
    assert names(cells, "failed") == []


def test_scores_of_a_plugin_do_not_disturb_the_flags(cells: Cells) -> None:
    cells.record("m", [0.5, 0.6], extra=[ScoreRecord(metric="unit_overlap_of_mine", value=1.0)])
    assert names(cells, "m") == []
