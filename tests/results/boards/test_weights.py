"""Weights as text, by preset and by dimension, and what is refused."""

from __future__ import annotations

import pytest
from flagged_board import flagged_board

from results.boards.reference_scales import SCALES
from results.boards.weights import AXES, PRESETS, axes_of, column_of, parsed_weights, require_measured
from results.errors import StoreError


def test_every_axis_has_a_scale_and_every_preset_a_weight_for_each() -> None:
    assert all(metric in SCALES for metrics in AXES.values() for metric in metrics)
    assert all(len(weights) == len(AXES) and max(weights) == 1.0 for weights in PRESETS.values())
    assert not set(AXES) & set(SCALES)


def test_weights_are_read() -> None:
    assert parsed_weights("ms_score=2, r2 = .5,kl=0") == {"ms_score": 2.0, "r2": 0.5}
    assert parsed_weights("cheap") == {"interpretability": 0.2, "faithfulness": 0.2, "cost": 1.0}
    assert parsed_weights("cost=1e3") == {"cost": 1000.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ms_score", "'ms_score' is no weight: write METRIC=WEIGHT"),
        ("", "'' is no weight"),
        ("r2=1,", "'' is no weight"),
        ("balance", "or one of balanced, faithful"),
        ("ms_scor=1", "'ms_scor' has no reference scale, so it cannot be weighted. Did you mean ms_score"),
        ("polysemanticity=1", "has no reference scale"),
        ("r2=-1", "must be a finite number of at least 0"),
        ("r2=nan", "must be a finite number"),
        ("r2=inf", "must be a finite number"),
        ("r2=1e999", "must be a finite number"),
        ("r2=much", "The weight of r2 is 'much'"),
        ("r2=", "The weight of r2 is ''"),
        ("r2=1,r2=2", "given twice"),
        ("r2=0,kl=0", "All weights are 0"),
    ],
)
def test_wrong_weights_are_one_sentence(text: str, message: str) -> None:
    with pytest.raises(StoreError) as error:
        parsed_weights(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_dimension_is_measured_by_the_first_of_its_metrics() -> None:
    board = flagged_board()
    assert {axis: column.key for axis, column in axes_of(board).items()} == {
        "interpretability": "ms_score",
        "faithfulness": "r2",
    }
    assert column_of(board, "cost") is None
    require_measured([board], {"r2": 1.0})
    require_measured([], {"cost": 1.0})
    with pytest.raises(StoreError, match=r"No board here has 'kl', which has a weight\. Available: accuracy"):
        require_measured([board], {"r2": 1.0, "kl": 1.0})
