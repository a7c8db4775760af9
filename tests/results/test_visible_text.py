"""Bounds on what is put into a message."""

from __future__ import annotations

import copy

import pytest

from methods.errors import ArgumentError, UserError
from results.errors import NotComparableError, StoreError
from results.nearest_names import alternatives
from results.visible_text import short_lines


def test_usual_lines_stay_as_they_are() -> None:
    text = "'/a/long/path/" + "x" * 200 + "' cannot be used.\n\n" + "word " * 59
    assert short_lines(text) == text


@pytest.mark.parametrize(
    "value", ["x" * 1_000_000, "a b " * 250_000, "\u202e" * 100_000, "x" * 170 + " " + "y" * 400, "", "é" * 5000]
)
def test_no_line_depends_on_the_length_of_a_value(value: str) -> None:
    short = short_lines(f"There is no suite {value!r}; the value {value!r} is wrong. Give a name.\nsecond line")
    first, second = short.split("\n")
    assert len(first) <= 1000 and second == "second line"
    assert first.startswith("There is no suite ") and first.endswith("Give a name.")
    assert short_lines(short) == short


def test_a_long_word_keeps_its_start_and_end() -> None:
    short = short_lines("There is no file '/data/" + "x" * 500 + "/suite.toml': give another one.")
    assert len(short) < 300
    assert "'/data/xxx" in short and "xxx/suite.toml': give" in short


@pytest.mark.parametrize("kind", [UserError, ArgumentError, StoreError, NotComparableError])
def test_errors_are_bounded_wherever_they_are_raised(kind: type[Exception]) -> None:
    error = kind(f"There is no {'x' * 1_000_000!r}.")
    assert len(str(error)) < 300
    assert str(copy.copy(error)) == str(error)
    assert str(kind()) == "" and kind(3).args == (3,)


def test_alternatives_to_a_name() -> None:
    assert alternatives("tme", ["time", "r2"]) == "Did you mean time? Available: time, r2."
    assert alternatives("x" * 1_000_000, []) == "Available: none."
    many = [f"metric_{number:03d}" for number in range(200)]
    assert alternatives("zzz", many).endswith("metric_009, and 190 more.")
    assert alternatives("ELUDE", ["title"], similar=["elude"]) == "Did you mean elude? Available: title."
    assert len(alternatives("a", ["b" * 100_000])) < 60
