"""Division of a cell's time into a part that grows with the share and the rest."""

from __future__ import annotations

from typing import Any

import pytest

from harness.rehearsal.watching import share_after_first_step


@pytest.mark.parametrize(
    ("config", "share"),
    [
        # Five steps, 4 + 4 + 2 tokens twice.
        ({"epochs": 2, "batch_size": 4}, 16 / 20),
        # One step per epoch.
        ({"epochs": 2, "batch_size": 64}, 1 / 2),
        ({"epochs": 1, "batch_size": 64}, 0.0),
        ({"epochs": None, "batch_size": 4}, 1.0),
        ({"top_k": 100}, 1.0),
    ],
)
def test_the_first_training_step_is_left_out(config: dict[str, Any], share: float) -> None:
    assert share_after_first_step(config, 10) == pytest.approx(share)


def test_a_share_without_tokens_has_no_first_step() -> None:
    assert share_after_first_step({"epochs": 2, "batch_size": 4}, 0) == 1.0
