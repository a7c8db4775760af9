"""Sentences on runs and their disk space."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from results.app.disk_use import DiskUse
from results.app.run_words import disk_sentence, outcome

STARTED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
RUN: dict[str, Any] = {
    "status": "finished",
    "n_finished": 47,
    "n_failed": 0,
    "n_planned": 47,
    "started_at": STARTED,
    "ended_at": STARTED + timedelta(minutes=9),
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "all 47 cells finished in 9 min"),
        ({"n_planned": None, "ended_at": None}, "all 47 cells finished"),
        ({"n_finished": 1, "n_planned": 1}, "1 cell finished in 9 min"),
        ({"n_finished": 45, "n_failed": 2}, "45 of 47 cells finished in 9 min, 2 failed"),
        ({"n_finished": 3}, "3 cells finished in 9 min; the other 44 are of other runs"),
        ({"n_finished": 0}, "nothing to compute: all cells are of other runs"),
        ({"status": "interrupted", "n_finished": 12}, "interrupted after 12 of 47 cells in 9 min"),
        (
            {"status": "died", "n_finished": 11, "n_failed": 1, "ended_at": None},
            "killed after 12 of 47 cells, 1 failed",
        ),
        ({"status": "running", "n_finished": 0, "ended_at": None}, "running, 0 of 47 cells"),
    ],
)
def test_the_outcome_of_a_run_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert outcome(RUN | changes) == sentence


def test_the_disk_space_is_a_sentence() -> None:
    store, cache = DiskUse("store", 48 << 20, True), DiskUse("cached tokens and baselines", 2 << 20, False)
    assert disk_sentence([store, DiskUse("fitted methods", 0, True)]) == "The store takes 48.0 MiB on disk."
    assert disk_sentence([store, DiskUse("fitted methods", 1 << 20, True), cache]) == (
        "At least 51.0 MiB on disk: 48.0 MiB for the store, 1.0 MiB for fitted methods and at least 2.0 MiB for "
        "cached tokens and baselines."
    )
