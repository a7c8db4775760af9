"""Progress of a run, read from its log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from results.app.run_progress import logged_at, progress_of, step_of

CELL = "2026-11-29 09:00:07 3/47 ELUDe (token seed 42): ms_score 57.18 % in 163.7 s [abc]; about 1 h 20 min left"


def test_the_last_counted_line_tells_the_progress() -> None:
    lines = ["2026-11-29 09:00:01 2/47 first: done [x]", CELL, "2026-11-29 09:00:09 A sentence of the run."]
    progress = progress_of(lines)
    assert progress is not None
    assert progress == (3, 47, "1 h 20 min", datetime(2026, 11, 29, 9, 0, 7, tzinfo=UTC))
    first = progress_of(lines[:1])
    assert first is not None and first.left is None


@pytest.mark.parametrize(
    "line",
    ["", "no time 3/47 x", "2026-11-29 09:00:07 48/47 more than all", "2026-11-29 09:00:07 0/0 x", "\x00" * 50],
)
def test_lines_without_a_count_tell_nothing(line: str) -> None:
    assert progress_of([line]) is None


def test_the_time_left_is_no_other_text() -> None:
    for end in ("; about <b>x</b> left", "; about 9 minutes and a long text that is not a time left", ""):
        progress = progress_of([f"2026-11-29 09:00:07 3/47 x{end}"])
        assert progress is not None and progress.left is None


def test_an_impossible_time_is_none() -> None:
    assert logged_at("2026-99-29 09:00:07 x") is None
    assert logged_at("x") is None


def test_a_step_is_that_of_the_last_line_only() -> None:
    step = "2026-11-29 09:00:17 ... ELUDe, token seed 42: neurons split: 20 of 384"
    assert step_of([CELL, step]) == "ELUDe, token seed 42: neurons split: 20 of 384"
    assert step_of([step, CELL]) is None and step_of([]) is None
    assert progress_of([CELL, step]) == progress_of([CELL])
