"""Time left of a run, from the cells that have ended."""

from __future__ import annotations

import pytest

from harness.time_left import TimeLeft


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_known_before_the_first_cell_ends() -> None:
    left = TimeLeft({"a": "x"}, {})
    assert left.seconds() is None
    left.ended("a", 3.0)
    assert left.seconds() == 0


def test_cells_of_one_kind_take_as_long_as_those_that_have_ended() -> None:
    clock = Clock()
    left = TimeLeft({"a": "sae", "b": "sae", "c": "pca", "d": "new"}, {"pca": 1.0}, clock=clock)
    assert left.seconds() == pytest.approx(4.0)  # one kind is known from earlier runs, and is the mean
    clock.now = 10.0
    left.ended("a", 10.0)
    # b as a, c as known, d as the mean of both kinds.
    assert left.seconds() == pytest.approx(10 + 1 + 5.5)


def test_cells_that_are_computed_at_once_are_counted_once() -> None:
    clock = Clock()
    left = TimeLeft(dict.fromkeys("abcd", "sae"), {}, clock=clock)
    clock.now = 10.0
    left.ended("a", 10.0)
    left.ended("b", 10.0)
    assert left.seconds() == pytest.approx(10.0)


def test_cells_of_other_runs_have_no_time() -> None:
    left = TimeLeft({"a": "x", "b": "x"}, {})
    left.ended("a")
    left.ended("unknown", 5.0)
    assert left.seconds() is None
